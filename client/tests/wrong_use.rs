//! A wrong use of `baton` is refused at once, in a message that names the thing and says what to do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use baton_client::Identity;
use baton_refusal::{FAILURE, USAGE, assert_refused};
use serde_json::{Value, json};

const TOKEN: &str = "a-token-that-nobody-may-see";
const SECRET: &str = "a secret that is too short";

fn baton(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_baton"));
    command.args(arguments);
    for variable in ["BATON_TOKEN", "BATON_PROFILE", "BATON_KEY", "BATON_LOG"] {
        command.env_remove(variable);
    }
    command.env("XDG_RUNTIME_DIR", "/nonexistent");
    command
}

fn peer() -> String {
    Identity::from_seed([9; 32]).peer().to_string()
}

fn ca() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    rcgen::CertificateParams::new(vec!["ca".into()]).unwrap().self_signed(&key).unwrap().pem()
}

/// A profile with which nothing is wrong.
fn profile() -> Value {
    json!({
        "addresses": ["127.0.0.1:9"], "serverName": "edge", "audience": "ns/edge", "ca": ca(), "token": TOKEN,
    })
}

fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_command_line_that_makes_no_sense() {
    let id = peer();
    let (target, no_name, bad_name) = (format!("{id}/x"), format!("{id}/"), format!("{id}/a b"));
    let (peer_form, address_form) = ("52 letters a-z", "IP:PORT");
    let issue = ["token", "issue", "--secret-file", "s", "--pool", "a/b"];
    let expose = ["expose", "tcp", "127.0.0.1:1", "--profile", "p", "--as", "x"];
    let forward = ["forward", "127.0.0.1:0", &target, "--profile", "p"];
    let table: &[(&[&str], &[&str])] = &[
        (&["nonsense"], &["nonsense", "--help"]),
        (&["ping"], &["<PEER>", "--profile"]),
        (&["ping", &id], &["--profile <FILE>"]),
        (&["ping", "nobody", "--profile", "p"], &["nobody", peer_form]),
        (&["ping", &id[1..], "--profile", "p"], &[&id[1..], peer_form]),
        (&["ping", &id, "-c", "0", "--profile", "p"], &["0", "--count", "1.."]),
        (&["ping", &id, "-c", "many", "--profile", "p"], &["many", "--count"]),
        (&["forward", "127.0.0.1:0", &target], &["--profile <FILE>"]),
        (&["forward", "127.0.0.1:0", "nobody", "--profile", "p"], &["nobody", "write PEER/NAME"]),
        (&["forward", "127.0.0.1:0", "abc/x", "--profile", "p"], &["abc", peer_form]),
        (
            &["forward", "127.0.0.1:0", &no_name, "--profile", "p"],
            &["name of a service", "1 to 64"],
        ),
        (&["forward", "127.0.0.1:0", &bad_name, "--profile", "p"], &["'a b'", "1 to 64"]),
        (&["forward", "nowhere", &target, "--profile", "p"], &["nowhere", address_form]),
        (&["forward", "127.0.0.1:65536", &target, "--profile", "p"], &["65536", address_form]),
        (&["expose", "sctp", "127.0.0.1:1"], &["sctp", "--help"]),
        (
            &["expose", "udp", "127.0.0.1:0", "--as", "x", "--profile", "p"],
            &["port 0", "of the service"],
        ),
        (&["expose", "tcp", "8080", "--as", "x", "--profile", "p"], &["8080", address_form]),
        (
            &["expose", "tcp", "127.0.0.1:0", "--as", "x", "--profile", "p"],
            &["port 0", "of the service"],
        ),
        (&["expose", "tcp", "127.0.0.1:1", "--profile", "p"], &["--as <NAME>"]),
        (&["expose", "tcp", "127.0.0.1:1", "--as", "a/b", "--profile", "p"], &["'a/b'", "1 to 64"]),
        (&[&expose[..], &["--allow", "all"]].concat(), &["'all'", "`any`", "`group`", peer_form]),
        (&[&expose[..], &["--allow", ""]].concat(), &["--allow", "`any`", "`group`"]),
        (&issue, &["--peer <ID>", "--any-peer"]),
        (
            &[&issue[..], &["--any-peer", "--peer", &id]].concat(),
            &["--any-peer", "cannot be used with"],
        ),
        (&[&issue[..], &["--peer", "me"]].concat(), &["'me'", peer_form]),
        (&[&issue[..], &["--any-peer", "--ttl", "1"]].concat(), &["'1'", "s, m, h or d"]),
        (&[&issue[..], &["--any-peer", "--ttl", "0h"]].concat(), &["'0h'", "s, m, h or d"]),
        // Times that are zero mean at once where that is something, and negative ones are no times.
        (&[&forward[..], &["--drain=-1s"]].concat(), &["'-1s'", "s, m, h or d"]),
        (&[&forward[..], &["--udp", "--idle", "0s"]].concat(), &["'0s'", "longer"]),
        (&[&forward[..], &["--udp", "--idle=-1s"]].concat(), &["'-1s'", "s, m, h or d"]),
        (&[&forward[..], &["--idle", "9s"]].concat(), &["--udp"]),
        (&["send", "f", &id, "--profile", "p", "--patience", "0s"], &["'0s'", "longer"]),
        (&["send", "f", "nobody", "--profile", "p"], &["nobody", peer_form]),
        (&["receive", "--profile", "p", "--max-size", "0"], &["0", "--max-size"]),
        (&["status", "me"], &["me", "PID"]),
        (&["completions", "csh"], &["csh", "zsh"]),
    ];
    for (arguments, parts) in table {
        assert_refused(&mut baton(arguments), USAGE, parts, &[]);
    }
    assert_refused(baton(&["ping", &id]).env("BATON_PROFILE", ""), USAGE, &["--profile"], &[]);
}

#[test]
fn files_that_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let good = write(folder, "good.json", profile().to_string());
    let short = write(folder, "short", SECRET);
    let secret = write(folder, "secret", [b'x'; 32]);
    let empty = write(folder, "empty", "\n");
    let no_key = write(folder, "no.key", SECRET);
    let open_key = folder.join("open.key").to_str().unwrap().to_owned();
    Identity::create(Path::new(&open_key)).unwrap();
    let key_text = fs::read_to_string(&open_key).unwrap();
    fs::set_permissions(&open_key, fs::Permissions::from_mode(0o644)).unwrap();
    let beside = profile().as_object().unwrap().clone();
    let mut beside = Value::from(beside);
    beside["token"] = Value::Null;
    beside["tokenFile"] = "gone".into();
    let beside = write(folder, "beside.json", beside.to_string());
    let folder = folder.to_str().unwrap();

    let id = peer();
    let gone = "/nonexistent/file";
    let long = "g".repeat(129);
    let ping = |rest: &[&str]| {
        [&["ping", &id, "--profile"], rest]
            .concat()
            .iter()
            .map(|&text| text.to_owned())
            .collect::<Vec<_>>()
    };
    let issue = |rest: &[&str]| {
        [&["token", "issue", "--any-peer"], rest]
            .concat()
            .iter()
            .map(|&text| text.to_owned())
            .collect::<Vec<_>>()
    };
    let words = |words: &[&str]| words.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    let table: Vec<(Vec<String>, Vec<&str>)> = vec![
        (ping(&[gone]), vec![gone, "ConfigMap <pool>-client"]),
        (ping(&[folder]), vec![folder, "directory", "ConfigMap <pool>-client"]),
        (ping(&[&empty]), vec![&empty, "ConfigMap <pool>-client"]),
        (ping(&[&good, "--log", "a=b=c"]), vec!["'a=b=c'", "log filter", "try `info`"]),
        (ping(&[&good, "--token-file", gone]), vec![gone, "baton token issue"]),
        (ping(&[&good, "--token-file", &empty]), vec![&empty, "empty", "baton token issue"]),
        (ping(&[&beside]), vec!["gone", "baton token issue"]),
        (ping(&[&good, "--key", gone]), vec![gone, "baton key new --out"]),
        (ping(&[&good, "--key", &no_key]), vec![&no_key, "is no key file", "baton key new"]),
        (ping(&[&good, "--key", &open_key]), vec![&open_key, "mode 644", "chmod 600"]),
        (words(&["key", "show", gone]), vec![gone, "baton key new"]),
        (words(&["key", "show", &no_key]), vec![&no_key, "baton key new"]),
        (
            words(&["key", "new", "--out", &no_key]),
            vec![&no_key, "is not overwritten", "remove it"],
        ),
        (words(&["key", "new", "--out", gone]), vec![gone, "choose another with --out"]),
        (words(&["run", gone]), vec![gone, "cannot be read"]),
        (words(&["run", folder]), vec![folder, "directory"]),
        (words(&["run", &empty]), vec![&empty, "'profile'", "'expose' or 'forward'"]),
        (words(&["run", &no_key]), vec![&no_key, "cannot be used"]),
        (words(&["receive", gone, "--profile", &good]), vec![gone, "cannot be put into"]),
        (words(&["receive", &good, "--profile", &good]), vec![&good, "directory"]),
        (words(&["send", gone, &id, "--profile", &good]), vec![gone, "cannot be sent"]),
        (words(&["send", folder, &id, "--profile", &good]), vec![folder, "is no file"]),
        (ping(&[&good, "--drain", "2d"]), vec!["the time to drain", "shorter"]),
        (words(&["status"]), vec!["cannot be asked", "XDG_RUNTIME_DIR"]),
        (issue(&["--pool", "a/b", "--secret-file", gone]), vec![gone, "<pool>-auth"]),
        (issue(&["--pool", "a/b", "--secret-file", folder]), vec![folder, "<pool>-auth"]),
        (
            issue(&["--pool", "a/b", "--secret-file", &short]),
            vec!["26 bytes", "32 or more", "/dev/urandom"],
        ),
        (
            issue(&["--pool", "edge", "--secret-file", &secret]),
            vec!["'edge'", "<namespace>/<name>"],
        ),
        (
            issue(&["--pool", "a/b", "--group", &long, "--secret-file", &secret]),
            vec!["129 bytes", "128"],
        ),
    ];
    let key_text = key_text.lines().last().unwrap();
    for (arguments, parts) in table {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        assert_refused(&mut baton(&arguments), FAILURE, &parts, &[SECRET, TOKEN, key_text]);
    }

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let forward = ["forward", &address, &format!("{id}/x"), "--profile", &good];
    assert_refused(&mut baton(&forward), FAILURE, &[&address, "choose another address"], &[TOKEN]);
    let ping = ["ping", &id, "--profile", &good];
    for wrong in ["", " \n"] {
        let mut command = baton(&ping);
        command.env("BATON_TOKEN", wrong);
        assert_refused(&mut command, FAILURE, &["BATON_TOKEN is empty", "unset it"], &[TOKEN]);
    }
}

#[test]
fn a_profile_with_faults_has_all_of_them_named() {
    let folder = tempfile::tempdir().unwrap();
    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let table: &[(Value, &[&str])] = &[
        (json!({"addresses": []}), &["'addresses'", "host:port"]),
        (json!({"addresses": ["edge"]}), &["'edge'", "host:port"]),
        (
            json!({"addresses": ["edge:0", "edge:65536"]}),
            &["'edge:0'", "'edge:65536'", "host:port"],
        ),
        (json!({"addresses": "edge:1"}), &["edge:1", "expected a sequence", "<pool>-client"]),
        (json!({"serverName": "a b"}), &["'serverName'", "'a b'", "host name"]),
        (json!({"audience": "edge"}), &["'audience'", "<namespace>/<pool>"]),
        (json!({"ca": "none"}), &["'ca'", "PEM"]),
        (json!({"ca": no_certificate}), &["'ca'", "certificate that cannot be used"]),
        (json!({"tokenFile": "token"}), &["'token'", "'tokenFile'", "only one"]),
        (json!({"token": 7}), &["expected a string", "<pool>-client"]),
        (
            json!({"addresses": ["a"], "serverName": "", "audience": "", "ca": no_certificate, "tokenFile": "t"}),
            &["'addresses'", "'serverName'", "'audience'", "'ca'", "'tokenFile'"],
        ),
    ];
    for (faults, parts) in table {
        let mut profile = profile();
        for (field, value) in faults.as_object().unwrap() {
            profile[field] = value.clone();
        }
        let path = write(folder.path(), "profile.json", profile.to_string());
        let parts = [&[path.as_str()], *parts].concat();
        let mut command = baton(&["ping", &peer(), "--profile", &path]);
        assert_refused(&mut command, FAILURE, &parts, &[TOKEN]);
    }

    let path = write(folder.path(), "profile.json", r#"{"tokenfile": "token"}"#);
    let all = ["'addresses'", "'serverName'", "'audience'", "'ca'"];
    let said =
        assert_refused(&mut baton(&["ping", &peer(), "--profile", &path]), FAILURE, &all, &[]);
    assert!(
        said.contains("tokenfile") && said.contains("not known"),
        "a name that is misspelt: {said}"
    );
}
