//! `tests/space.sh`: a run for which there is no room says so before it begins.

use std::io;
use std::process::{Command, Output};

fn space(gib: &str) -> io::Result<Output> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../space.sh");
    Command::new(script).arg(gib).output()
}

#[test]
fn where_there_is_room_nothing_is_said() {
    let Output { status, stdout, stderr } = space("0.001").unwrap();
    assert!(status.success() && stdout.is_empty() && stderr.is_empty(), "{stderr:?}");
}

#[test]
fn where_there_is_too_little_it_is_said_how_much_is_missing_and_what_to_do() {
    let Output { status, stderr, .. } = space("1000000").unwrap();
    let said = String::from_utf8_lossy(&stderr);
    assert!(!status.success(), "{said}");
    for part in ["GiB are free", "are needed (1000000 for everything", "set CARGO_TARGET_DIR"] {
        assert!(said.contains(part), "{said}");
    }
}
