//! `--allow`, as people use it: who reaches what is exposed, and what relays carry of others.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::command::{Files, interrupt, run, start, text};
use crate::fleet::{Fleet, token_of};

/// A key file, and the peer whose it is.
async fn key(files: &Files, name: &str) -> (String, String) {
    let path = files.path(name);
    let made = run(&["key", "new", "--out", &path]).await;
    (path, text(&made.stdout))
}

/// Whether what is exposed under `target` answers whoever has this key and this token.
async fn answers(
    files: &Files,
    service: &TcpListener,
    target: &str,
    key: &str,
    token: &str,
) -> bool {
    let forward = ["forward", "127.0.0.1:0", target, "--key", key, "--token-file", token];
    let profile = files.path("profile.json");
    let (child, local) = start(&[&forward[..], &["--profile", &profile]].concat()).await;
    let mut near = TcpStream::connect(&local).await.unwrap();
    let _ = near.write_all(b"hello").await;
    let mut byte = [0];
    let read = async {
        tokio::select! {
            // It is cut where there is nobody.
            read = near.read(&mut byte) => { read.is_ok_and(|length| length > 0) }
            accepted = service.accept() => {
                let (mut far, _) = accepted.unwrap();
                far.read_exact(&mut byte).await.is_ok()
            }
        }
    };
    let read = tokio::time::timeout(Duration::from_secs(20), read).await.expect("an end");
    interrupt(&child);
    read
}

#[tokio::test]
async fn who_is_exposed_to_named_peers_is_not_there_for_others_and_any_is_any() {
    let fleet = Fleet::start(1).await;
    let files = Files::new(&fleet);
    let other = files.path("other token");
    std::fs::write(&other, token_of("other")).unwrap();
    let team = files.path("token");
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = service.local_addr().unwrap().to_string();
    let (own, _) = key(&files, "own").await;
    let (friend, friends_id) = key(&files, "friend").await;
    let (stranger, strangers_id) = key(&files, "stranger").await;
    // What is allowed, and who reaches it: a friend of the group, another of it, and one of another group.
    let named = ["--allow", &*friends_id];
    let strange = ["--allow", &*strangers_id];
    let both = ["--allow", "group", "--allow", &*strangers_id];
    let table: [(&[&str], [bool; 3]); 5] = [
        (&["--allow", "group"], [true, true, false]),
        (&named, [true, false, false]),
        (&strange, [false, false, true]),
        (&both, [true, true, true]),
        (&["--allow", "any"], [true, true, true]),
    ];
    let (another, _) = key(&files, "another").await;
    for (allow, expected) in table {
        let expose = ["expose", "tcp", &to, "--as", "web", "--key", &own, "--token-file", &team];
        let profile = files.path("profile.json");
        let (mut child, target) =
            start(&[&expose[..], allow, &["--profile", &profile]].concat()).await;
        let who = [(&friend, &team), (&another, &team), (&stranger, &other)];
        for ((key, token), expected) in who.into_iter().zip(expected) {
            let reached = answers(&files, &service, &target, key, token).await;
            assert_eq!(reached, expected, "{key} with {allow:?}");
        }
        interrupt(&child);
        tokio::time::timeout(Duration::from_secs(20), child.wait()).await.unwrap().unwrap();
    }
    // To those who are not on a list it looks as if nobody were there, and their packets were not carried.
    let metrics = fleet.relays[0].metrics();
    let refused = metrics.lines().find(|line| line.contains(r#"reason="policy""#)).unwrap();
    assert!(!refused.ends_with(" 0"), "{refused}");
    fleet.stop().await;
}
