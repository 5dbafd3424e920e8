//! `baton token`: what it makes, it can tell of; and it says clearly what it does not know.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use baton_refusal::{FAILURE, USAGE, assert_refused};
use rcgen::{KeyPair, PKCS_ED25519};

const SECRET: &str = "a secret of 32 bytes that nobody may see";

fn baton(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_baton"));
    command.current_dir(folder).env_clear().arg("token").args(arguments);
    command
}

fn output(folder: &Path, arguments: &[&str]) -> Output {
    baton(folder, arguments).output().unwrap()
}

/// A folder with keys, and a token of each of them.
fn files() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| fs::write(folder.path().join(name), content).unwrap();
    let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    write("secret", SECRET);
    write("private.pem", &pair.serialize_pem());
    write("issuer.pem", &pair.public_key_pem());
    for (with, token) in
        [("--secret-file=secret", "by-secret"), ("--private-key-file=private.pem", "by-key")]
    {
        let issue = ["issue", with, "--pool=ns/edge", "--any-peer", "--group=team", "--ttl=90m"];
        let issued = output(folder.path(), &issue);
        assert!(issued.status.success(), "{issued:?}");
        fs::write(folder.path().join(token), issued.stdout).unwrap();
    }
    folder
}

#[test]
fn what_was_issued_is_told_verified_by_its_key_and_by_no_other() {
    let folder = files();
    for (token, key, other) in
        [("by-secret", "secret", "issuer.pem"), ("by-key", "issuer.pem", "secret")]
    {
        let (with, without) = (format!("--key-file={key}"), format!("--key-file={other}"));
        let good = output(folder.path(), &["inspect", token, &with, &without]);
        let text = String::from_utf8(good.stdout).unwrap();
        assert!(good.status.success(), "{text}");
        for part in ["pool       ns/edge", "group      team", "Z, in 1 h ", "verified   yes"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let unverified = output(folder.path(), &["inspect", token]);
        assert!(unverified.status.success());
        assert!(String::from_utf8_lossy(&unverified.stdout).contains("NOT VERIFIED"));
        let mut wrong = baton(folder.path(), &["inspect", token, &without]);
        assert_refused(&mut wrong, FAILURE, &["is not verified"], &[SECRET]);

        let json = output(folder.path(), &["inspect", "--json", token, &with]);
        let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
        assert_eq!(json["verified"], true);
        assert_eq!(json["inTime"], true);
        assert_eq!(json["claims"]["aud"], "ns/edge");
        assert!(json["ends"].as_str().unwrap().ends_with('Z'), "{json}");
    }
}

#[test]
fn what_is_no_token_and_no_key_is_refused() {
    let folder = files();
    let table: &[(&[&str], i32, &[&str])] = &[
        (&["inspect", "secret"], FAILURE, &["no access token", "three parts"]),
        (&["inspect", "nowhere"], FAILURE, &["nowhere", "No such file"]),
        (
            &["inspect", "by-key", "--key-file=private.pem"],
            FAILURE,
            &["private.pem", "openssl pkey -pubout"],
        ),
        (&["inspect", "by-key", "--key-file=nowhere"], FAILURE, &["nowhere", "No such file"]),
        (
            &["issue", "--private-key-file=issuer.pem", "--pool=ns/edge", "--any-peer"],
            FAILURE,
            &["issuer.pem", "openssl genpkey"],
        ),
        (
            &["issue", "--pool=ns/edge", "--any-peer"],
            USAGE,
            &["--secret-file", "--private-key-file"],
        ),
        (
            &[
                "issue",
                "--secret-file=secret",
                "--private-key-file=private.pem",
                "--pool=a/b",
                "--any-peer",
            ],
            USAGE,
            &["cannot be used with"],
        ),
    ];
    for (arguments, code, parts) in table {
        assert_refused(&mut baton(folder.path(), arguments), *code, parts, &[SECRET]);
    }
}
