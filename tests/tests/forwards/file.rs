//! A long file goes by the command while its relay is killed and addresses change.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use baton_tests::figures;
use baton_tests::fleet::Fleet;
use baton_tests::until::until;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::baton::Place;

const SIZE: u64 = 1 << 30;

/// How long the whole file may take.
const TRANSFER: Duration = Duration::from_secs(600);

const CHUNK: usize = 1 << 20;

/// Writes a file that is no pattern, and gives its checksum.
fn write(path: &Path) -> String {
    let mut file = std::fs::File::create(path).unwrap();
    let mut hash = Sha256::new();
    let mut chunk = vec![0_u8; CHUNK];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..SIZE / CHUNK as u64 {
        for word in chunk.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_ne_bytes());
        }
        hash.update(&chunk);
        file.write_all(&chunk).unwrap();
    }
    hex(&hash.finalize())
}

fn checksum(path: &Path) -> String {
    let mut file = std::fs::File::open(path).unwrap();
    let mut hash = Sha256::new();
    let mut chunk = vec![0_u8; CHUNK];
    loop {
        match file.read(&mut chunk).unwrap() {
            0 => return hex(&hash.finalize()),
            read => hash.update(&chunk[..read]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_a_gibibyte_survives_a_relay_kill_and_a_change_of_address() {
    let mut fleet = Fleet::start(3).await;
    let place = Place::new(&fleet);
    let (file, folder) = (place.path("file"), place.path("received"));
    std::fs::create_dir(&folder).unwrap();
    let written = {
        let file = file.clone();
        tokio::task::spawn_blocking(move || write(&file)).await.unwrap()
    };
    let arguments = ["receive", &folder.to_string_lossy(), "--once", "--json"];
    let mut receiving = place.start(&arguments).await;
    let said: Value = serde_json::from_str(&receiving.line().await).unwrap();
    let peer = said["peer"].as_str().unwrap().to_owned();
    let began = Instant::now();
    let mut sending = place.start(&["send", &file.to_string_lossy(), &peer, "--json"]).await;

    let part = folder.join(format!(".file.{SIZE}.part"));
    let there = || std::fs::metadata(&part).map_or(0, |part| part.len());
    let at_least = async |share: u64| {
        until("so much of the file is there", TRANSFER, || there() >= SIZE / 100 * share).await;
    };
    // Its relay is gone, without a word.
    at_least(20).await;
    let relay = place.status(&sending).await["relay"].as_str().unwrap().to_owned();
    fleet.kill(&relay);
    let killed = Instant::now();
    let at = there();
    until("the file goes on after the kill", TRANSFER, || there() > at + (8 << 20)).await;
    let gap = killed.elapsed();
    // Every address changes, twice.
    for share in [50, 70] {
        at_least(share).await;
        fleet.rebind_clients();
    }
    at_least(90).await;
    let status = place.status(&sending).await;
    let (resumes, migrations) = (status["resumes"].as_u64(), status["migrations"].as_u64());
    assert_ne!(status["relay"], Value::String(relay), "it is on another relay");

    let sent: Value = serde_json::from_str(&sending.line_within(TRANSFER).await).unwrap();
    let took = began.elapsed();
    sending.ends().await;
    receiving.ends().await;
    let received = folder.join("file");
    let received = tokio::task::spawn_blocking(move || checksum(&received)).await.unwrap();
    let figure = |what: &str, value: String| figures::record("forwards", what, value);
    figure("a file of 1 GiB took", format!("{:.1} s", took.as_secs_f64()));
    figure("from the kill of its relay until 8 MiB more were there", format!("{gap:?}"));
    figure("resumes, migrations of the sender", format!("{resumes:?}, {migrations:?}"));
    figure("SHA-256 written, received", format!("{}.., {}..", &written[..16], &received[..16]));
    assert_eq!(received, written);
    assert_eq!(sent["sha256"], written);
    assert_eq!(sent["bytes"], SIZE);
    // What was to be survived has happened.
    assert!(resumes >= Some(1) && migrations >= Some(1), "{status}");
    fleet.stop().await;
}
