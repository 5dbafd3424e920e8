//! A wrong use of `baton-relay` is refused at once, in a message that names the thing and says what to do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;

use baton_refusal::{FAILURE, Running, USAGE, assert_refused};

const SECRET: &str = "a secret that nobody may see";

/// Files with which nothing is wrong.
fn files(folder: &Path) {
    for name in ["pool", "auth", "tls", "state"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    fs::write(folder.join("pool/current"), [1; 32]).unwrap();
    fs::write(folder.join("auth/hs256"), format!("{SECRET}, of 32 bytes or more\n")).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["edge".into()]).unwrap();
    fs::write(folder.join("tls/tls.crt"), certificate.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(folder.join("tls/tls.key"), key.serialize_pem()).unwrap();
}

/// The relay with those files, and any ports.
fn relay(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_baton-relay"));
    command.current_dir(folder).env("BATON_POOL", "ns/edge").env("BATON_POD_UID", "a");
    for listen in ["LISTEN", "MESH_LISTEN", "ADMIN_LISTEN"] {
        command.env(format!("BATON_{listen}"), "127.0.0.1:0");
    }
    let paths = [
        ("POOL_KEYS", "pool"),
        ("AUTH_KEYS", "auth"),
        ("TLS", "tls"),
        ("STATE", "state"),
        ("DRAIN_FILE", "drain"),
        ("SEEDS_FILE", "seeds"),
        ("TERMINATION_LOG", "message"),
    ];
    for (variable, path) in paths {
        command.env(format!("BATON_{variable}"), path);
    }
    for variable in [
        "LOG",
        "AUTH_MODE",
        "ALLOWLIST",
        "CONFIG",
        "MAX_SESSIONS",
        "LINGER_SECONDS",
        "TERMINATION_GRACE_SECONDS",
        "POD_IP",
    ] {
        command.env_remove(format!("BATON_{variable}"));
    }
    command
}

#[test]
fn flags_and_variables_that_make_no_sense() {
    let folder = tempfile::tempdir().unwrap();
    files(folder.path());
    let address = "<IP:PORT>";
    let usage: &[(&[&str], &[&str])] = &[
        (&["--nonsense"], &["--nonsense", "--help"]),
        (&["extra"], &["extra", "--help"]),
        (&["--listen=4443"], &["'4443'", "--listen", address]),
        (&["--listen=[::]:65536"], &["65536", "--listen", address]),
        (&["--mesh-listen=here"], &["'here'", "--mesh-listen", address]),
        (&["--admin-listen=127.0.0.1:-1"], &["127.0.0.1:-1", "--admin-listen", address]),
        (&["--advertise=edge-1"], &["'edge-1'", "--advertise <IP>"]),
        (&["--auth-mode=none"], &["'none'", "token, allowlist, open"]),
        (&["--max-sessions=lots"], &["'lots'", "--max-sessions <COUNT>"]),
        (&["--max-sessions=-1"], &["'-1'", "--max-sessions <COUNT>"]),
        (&["--limit-session-bytes=1e6"], &["'1e6'", "--limit-session-bytes <BYTES>"]),
        (&["--linger-seconds=10s"], &["'10s'", "--linger-seconds <SECONDS>"]),
        (&["--termination-grace-seconds=1.5"], &["'1.5'", "<SECONDS>"]),
    ];
    for (arguments, parts) in usage {
        assert_refused(relay(folder.path()).args(*arguments), USAGE, parts, &[SECRET]);
    }
    let mut bare = relay(folder.path());
    bare.env_remove("BATON_POOL").env_remove("BATON_POD_UID");
    assert_refused(&mut bare, USAGE, &["--pool <NS/NAME>", "--name <NAME>"], &[]);
    let mut variable = relay(folder.path());
    variable.env("BATON_MAX_SESSIONS", "lots");
    assert_refused(&mut variable, USAGE, &["'lots'", "--max-sessions <COUNT>"], &[]);

    let never = u64::MAX.to_string();
    let (never_linger, port) = (format!("--linger-seconds={never}"), "have the same port");
    let table: &[(&[&str], &[&str])] = &[
        (&["--pool=edge"], &["--pool", "'edge'", "<namespace>/<pool>"]),
        (&["--pool=a/b/c"], &["--pool", "'a/b/c'", "<namespace>/<pool>"]),
        (&["--name="], &["--name", "the pod's UID"]),
        (&["--max-sessions=0"], &["--max-sessions", "1 or more"]),
        (&["--limit-session-bytes=1279"], &["--limit-session-bytes", "1280 or more, or 0"]),
        (
            &["--listen=127.0.0.1:4443", "--mesh-listen=[::]:4443"],
            &["--mesh-listen [::]:4443", port],
        ),
        (&["--termination-grace-seconds=12"], &["12", "more than --linger-seconds 10 + 2"]),
        (&["--linger-seconds=78"], &["80", "more than --linger-seconds 78 + 2"]),
        (&[&never_linger], &["more than --linger-seconds", &never]),
        (&["--log=a=b=c"], &["--log", "'a=b=c'", "try `info`"]),
    ];
    for (arguments, parts) in table {
        assert_refused(relay(folder.path()).args(*arguments), FAILURE, parts, &[SECRET]);
    }
}

#[test]
fn mounted_files_that_cannot_be_used() {
    let made = rcgen::generate_simple_self_signed(vec!["other".into()]).unwrap();
    let other_key = made.signing_key.serialize_pem();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    // A file, what is in it instead (`None`: a folder is in its place; empty folder of `auth` beside), and what is said.
    let table: &[(&str, Option<&str>, &[&str])] = &[
        ("pool/current", None, &["pool/current", "directory", "<pool>-pool"]),
        ("pool/current", Some(""), &["pool/current", "0 bytes", "must have 32", "/dev/urandom"]),
        ("pool/current", Some(SECRET), &["pool/current", "28 bytes", "must have 32"]),
        ("pool/next", Some(SECRET), &["pool/next", "28 bytes", "must have 32"]),
        ("auth/hs256", None, &["auth/hs256", "directory", "<pool>-auth"]),
        ("auth/hs256", Some("\n"), &["auth/hs256", "0 bytes", "32 or more", "/dev/urandom"]),
        ("auth/hs256", Some(SECRET), &["auth/hs256", "28 bytes", "32 or more"]),
        ("tls/tls.crt", None, &["tls/tls.crt", "directory", "certificate"]),
        ("tls/tls.crt", Some("none"), &["tls/tls.crt", "no certificate", "PEM"]),
        ("tls/tls.crt", Some(broken), &["tls/tls.crt", "tls/tls.key", "give the certificate"]),
        ("tls/tls.key", None, &["tls/tls.key", "directory", "certificate"]),
        ("tls/tls.key", Some(SECRET), &["tls/tls.key", "mount the Secret"]),
        ("tls/tls.key", Some(&other_key), &["tls/tls.crt", "tls/tls.key", "it was made for"]),
    ];
    let key_line = other_key.lines().nth(1).unwrap();
    for (name, content, parts) in table {
        let folder = tempfile::tempdir().unwrap();
        files(folder.path());
        let path = folder.path().join(name);
        match content {
            Some(content) => fs::write(&path, content).unwrap(),
            None => {
                fs::remove_file(&path).unwrap();
                fs::create_dir(&path).unwrap();
            }
        }
        assert_refused(&mut relay(folder.path()), FAILURE, parts, &[SECRET, key_line]);
    }
    let folder = tempfile::tempdir().unwrap();
    files(folder.path());
    fs::remove_file(folder.path().join("auth/hs256")).unwrap();
    let parts = ["no access token secret in auth", "<pool>-auth"];
    assert_refused(&mut relay(folder.path()), FAILURE, &parts, &[]);
}

#[test]
fn all_faults_are_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    files(folder.path());
    for name in ["pool/current", "pool/next", "pool/previous", "auth/one", "auth/two"] {
        fs::write(folder.path().join(name), SECRET).unwrap();
    }
    for name in ["tls.crt", "tls.key"] {
        fs::remove_file(folder.path().join("tls").join(name)).unwrap();
    }
    let mut command = relay(folder.path());
    command.args(["--pool=edge", "--name=", "--max-sessions=0", "--termination-grace-seconds=1"]);
    let parts = [
        "--pool",
        "--name",
        "--max-sessions",
        "--linger-seconds",
        "pool/current",
        "pool/next",
        "pool/previous",
        "auth/one",
        "auth/two",
        "tls/tls.crt",
        "tls/tls.key",
        "No such file",
    ];
    assert_refused(&mut command, FAILURE, &parts, &[SECRET]);
}

#[test]
fn addresses_that_cannot_be_had() {
    let folder = tempfile::tempdir().unwrap();
    files(folder.path());
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let held = UdpSocket::bind(udp).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let table = [
        ("--listen", held.local_addr().unwrap()),
        ("--mesh-listen", held.local_addr().unwrap()),
        ("--admin-listen", tcp.local_addr().unwrap()),
    ];
    for (flag, address) in table {
        let mut command = relay(folder.path());
        command.arg(format!("{flag}={address}"));
        let (address, advice) = (address.to_string(), format!("choose another {flag}"));
        assert_refused(&mut command, FAILURE, &[&address, "in use", &advice], &[SECRET]);
    }
}

/// The files of annotations change while the relay runs: what is wrong with them ends nobody's session, but it is said.
#[test]
fn annotations_that_cannot_be_used_are_told_and_the_relay_goes_on() {
    let long = " ".repeat(2_000_000);
    let table = [
        ("drain", "{", "docs/drain-contract.md"),
        ("drain", r#"{"id": "u", "graceSeconds": 90000, "reason": "rollout"}"#, "86400 or less"),
        ("drain", &long, "may have 4096"),
        ("seeds", "[]", "docs/drain-contract.md"),
        ("seeds", r#"{"pods": []}"#, "name a sibling"),
        ("seeds", &long, "may have 262144"),
    ];
    for (name, content, expected) in table {
        let folder = tempfile::tempdir().unwrap();
        files(folder.path());
        fs::write(folder.path().join(name), content).unwrap();
        let log = folder.path().join("log");
        let mut command = relay(folder.path());
        let mut running = Running::start(&mut command, &log);
        let told = running.until_it_says(expected);
        assert!(
            running.is_alive() && told.contains("ERROR") && told.contains(name),
            "{name}: {told}"
        );
    }
}
