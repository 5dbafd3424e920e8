//! Building the fuzzer, with and without guidance, and running it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use baton_fuzz::{Target, corpus, seeds};

/// An input that takes longer is a finding. They take microseconds; the machine may be busy.
const INPUT_TIMEOUT: Duration = Duration::from_secs(30);

/// A fuzzer that takes more memory is a finding.
const MEMORY_MIB: u32 = 1024;

/// The two programs, each built once.
pub(crate) struct Programs {
    /// With the hooks of `instrument.sh`.
    pub(crate) guided: PathBuf,
    /// The same without them.
    #[allow(dead_code, reason = "only one of the two test programs wants it")]
    pub(crate) blind: PathBuf,
}

pub(crate) static PROGRAMS: LazyLock<Programs> =
    LazyLock::new(|| Programs { blind: build("blind", false), guided: build("guided", true) });

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn workspace() -> &'static Path {
    package().parent().and_then(Path::parent).expect("the package is in a workspace")
}

/// `target/fuzz`.
fn folder() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| workspace().join("target")).join("fuzz")
}

fn build(name: &str, guided: bool) -> PathBuf {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // The whole workspace, so that the dependencies have the features that the other tests built them with.
    cargo.args(["build", "--quiet", "--workspace", "--bin", "baton-fuzz"]);
    cargo.args(["--features", "baton-fuzz/fuzzer"]).current_dir(workspace());
    if guided {
        cargo.env("RUSTC_WORKSPACE_WRAPPER", package().join("instrument.sh"));
    }
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "the fuzzer is not built ({name}): {status}");
    let (folder, copy) = (folder(), folder().join(name));
    fs::create_dir_all(&folder).expect("a folder for the fuzzer");
    // Both are built under one name.
    let built = folder.parent().expect("target").join("debug/baton-fuzz");
    fs::copy(&built, &copy).expect("the fuzzer is built");
    copy
}

/// What a run did.
pub(crate) struct Ran {
    pub(crate) found: bool,
    pub(crate) said: String,
    took: Duration,
}

/// Runs a program on a target with libFuzzer's arguments; what it finds is put into `artifacts`.
pub(crate) fn run(program: &Path, target: &Target, artifacts: &Path, arguments: &[String]) -> Ran {
    let began = Instant::now();
    let output = Command::new(program)
        .env("BATON_FUZZ_TARGET", target.name)
        .env("RUST_BACKTRACE", "0")
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(format!("-max_len={}", target.max_length))
        .arg(format!("-timeout={}", INPUT_TIMEOUT.as_secs()))
        .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
        .arg("-print_final_stats=1")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the fuzzer runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ran { found: !output.status.success(), said, took: began.elapsed() }
}

/// Fuzzes a target for so long, from its seeds and its corpus. A finding is a panic here, with the input.
pub(crate) fn fuzz(name: &str, time: Duration) {
    let target = baton_fuzz::target(name).expect("a target");
    let work = tempfile::tempdir().unwrap();
    let [inputs, few, artifacts] = ["inputs", "few", "artifacts"].map(|name| {
        let path = work.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    });
    for (n, input) in [seeds::of(name), corpus::read(name).unwrap()].concat().iter().enumerate() {
        fs::write(inputs.join(n.to_string()), input).unwrap();
    }
    let seconds = format!("-max_total_time={}", time.as_secs());
    let ran = run(&PROGRAMS.guided, &target, &artifacts, &[seconds, path(&inputs)]);
    assert!(!ran.found, "{name} has a finding: {}\n{}", finding(&artifacts), ran.said);
    let executed = number(&ran.said, "stat::number_of_executed_units:");
    let covered = ran
        .said
        .lines()
        .rev()
        .find_map(|line| line.split_once(" cov: ").map(|(_, rest)| number(rest, "")));
    // One that stopped early, or that saw nothing of what it ran, has shown nothing.
    assert!(ran.took >= time && executed > 1000, "{name}: {executed} inputs\n{}", ran.said);
    let covered = covered.expect("coverage is counted");
    assert!(covered > 1, "{name} is not guided: {covered} edges");
    // As few as take all ways; how often each is taken does not count here.
    let merge = ["-set_cover_merge=1", "-use_counters=0", &path(&few), &path(&inputs)];
    let merge = merge.map(str::to_owned);
    let merged = run(&PROGRAMS.guided, &target, &artifacts, &merge);
    assert!(!merged.found, "{name} has a finding: {}\n{}", finding(&artifacts), merged.said);
    let kept = files(&few);
    if std::env::var_os("BATON_BLESS").is_some() {
        corpus::write(name, &kept).unwrap();
    }
    let value = format!(
        "0 findings in {executed} inputs, {} s ({covered} edges, {} inputs reach them)",
        ran.took.as_secs(),
        kept.len()
    );
    baton_tests::figures::record("fuzz", name, value);
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

fn files(folder: &Path) -> BTreeSet<Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
}

/// What was found, so that it can be tried again: a line for the corpus.
fn finding(artifacts: &Path) -> String {
    let hex = |input: &Vec<u8>| data_encoding::HEXLOWER.encode(input);
    let found: Vec<_> = files(artifacts).iter().map(hex).collect();
    format!(
        "add this line to the corpus, mend what it shows, and write a test of it: {}",
        found.join("\n")
    )
}

/// The number that follows a word.
fn number(text: &str, word: &str) -> u64 {
    let after = text.split_once(word).map_or("", |(_, after)| after).trim_start();
    after.split(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse().ok()).unwrap_or(0)
}
