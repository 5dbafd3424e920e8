//! The vectors as a program sees them that knows docs/protocol.md, and shares no code with this one.

use std::path::{Path, PathBuf};
use std::process::Command;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What it says if it holds the vectors against this page: nothing, if all is well.
fn check(page: &Path) -> Result<(), String> {
    assert!(
        std::env::var_os("BATON_BLESS").is_none(),
        "the vectors are being written beside this: run it again without BATON_BLESS"
    );
    let output = Command::new("python3")
        .arg("-B")
        .arg(repository().join("tests/vectors/check.py"))
        .arg(page)
        .output()
        .expect("python3 runs tests/vectors/check.py (Debian: apt-get install python3)");
    let said = [output.stdout, output.stderr].concat();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said).into_owned()) }
}

#[test]
fn a_reader_of_the_documentation_alone_agrees() {
    check(&repository().join("docs/protocol.md")).unwrap();
}

/// The negative control: what is wrong on the page, and nothing else, makes the check fail.
#[test]
fn a_page_that_says_otherwise_is_noticed() {
    let page = std::fs::read_to_string(repository().join("docs/protocol.md")).unwrap();
    let mistakes = [
        ("| stamp | 8 | of ACTIVE_OK |", "| stamp | 4 | of ACTIVE_OK |", "MOVED"),
        ("| idle | duration |", "| idle | varint |", "WELCOME"),
        ("0 offline, 1 online", "0 offline, 1 online, 2 away", "PRESENCE"),
        ("| 0x15 | MOVED |", "| 0x15 | MOVED_ON |", "MOVED"),
        ("| 0x14 | `token_expired` |", "| 0x15 | `token_expired` |", "close codes"),
        ("0c 22 01 P 01\n", "0c 22 01 P 02\n", "example"),
    ];
    for (right, wrong, noticed) in mistakes {
        assert!(page.contains(right), "docs/protocol.md has no '{right}' any more");
        let file = std::env::temp_dir().join(format!("baton-page-{}.md", std::process::id()));
        std::fs::write(&file, page.replace(right, wrong)).unwrap();
        let said = check(&file);
        std::fs::remove_file(&file).unwrap();
        let said = said.expect_err(wrong);
        assert!(said.contains(noticed), "{said}");
    }
}
