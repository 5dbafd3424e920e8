//! Python with the packages of `tests/interop/requirements.txt`, each of a stated version and with a stated hash.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest as _, Sha256};

const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/interop");

/// What says that all packages are there. Its absence that making them was interrupted.
const COMPLETE: &str = "complete";

/// The interpreter. Packages are fetched once, and again when other ones are asked for.
pub(crate) fn with_packages() -> PathBuf {
    let requirements = Path::new(TESTS).join("requirements.txt");
    let hash = Sha256::digest(fs::read(&requirements).expect("requirements.txt"));
    let name: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("interop-{name}"));
    let python = folder.join("bin/python");
    if !folder.join(COMPLETE).exists() {
        let made = Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder).status();
        let made = made.expect("python3 runs (Debian: apt-get install python3)");
        assert!(made.success(), "`python3 -m venv` failed (Debian: apt-get install python3-venv)");
        let fetched = Command::new(&python)
            .args(["-m", "pip", "--quiet", "--disable-pip-version-check", "install"])
            .args(["--require-hashes", "--only-binary", ":all:", "--requirement"])
            .arg(&requirements)
            .stdin(Stdio::null())
            .status();
        assert!(fetched.is_ok_and(|status| status.success()), "pip could not install the packages");
        fs::write(folder.join(COMPLETE), "").unwrap();
    }
    python
}

/// Runs the client's tests on what `ground` describes. Gives how many there were.
pub(crate) fn run_tests(python: &Path, ground: &Path) -> u64 {
    let output = Command::new(python)
        .args(["-m", "unittest", "-v"])
        .current_dir(TESTS)
        .env("BATON_INTEROP_GROUND", ground)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .output()
        .expect("the interpreter runs");
    // unittest prints there.
    let printed = String::from_utf8_lossy(&output.stderr);
    println!("{printed}");
    assert!(output.status.success(), "tests of the client in Python failed: {}", output.status);
    let tests = count(&printed).expect("unittest says how many tests it ran");
    assert!(tests > 0, "no test ran");
    tests
}

/// From the line "Ran 40 tests in 12.345s".
fn count(printed: &str) -> Option<u64> {
    let line = printed.lines().rev().find_map(|line| line.strip_prefix("Ran "))?;
    line.split(' ').next()?.parse().ok()
}
