//! Up, down, killed in the middle: each works, and nothing is left.
//!
//! These tests own the machine's one cluster; `make test` sees to it that none is up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod common;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use baton_cluster::cgroup::Cgroups;
use baton_cluster::leftovers::Leftovers;
use baton_cluster::names;
use common::snapshot::Snapshot;
use common::{figure, tool};

/// A warm start may take this long; it takes a fifth of it here.
const WARM_DEADLINE: Duration = Duration::from_secs(30);

/// One after another, in one test: they share the machine's cluster.
#[test]
fn a_cluster_comes_and_goes_and_leaves_nothing() {
    // Whatever a killed predecessor left, and Kubernetes built.
    assert!(tool(&["down"]).success);
    let _guard = DownAtTheEnd;
    let before = Snapshot::take();

    up_and_down_twice();
    assert_nothing_left(&before, "up and down");

    up_after_the_command_was_killed();
    assert_nothing_left(&before, "the command was killed");

    up_after_the_supervisor_was_killed(&before);
    assert_nothing_left(&before, "the supervisor was killed");

    an_attached_cluster_goes_with_its_owner();
    assert_nothing_left(&before, "the owner went away");
}

/// A failed assertion must not leave a cluster to the tests that follow.
struct DownAtTheEnd;

impl Drop for DownAtTheEnd {
    fn drop(&mut self) {
        tool(&["down"]);
    }
}

fn up_and_down_twice() {
    // What was built before is on the disk then: etcd syncs all that it writes, and would wait for that.
    assert!(Command::new("sync").status().unwrap().success());
    let started = Instant::now();
    let first = tool(&["up"]);
    let took = started.elapsed();
    assert!(first.success, "{}", first.said);
    assert!(took < WARM_DEADLINE, "a warm start took {took:?}");
    figure("warm start with three nodes Ready, s", format!("{:.1}", took.as_secs_f64()));

    let supervisor = supervisor();
    let session = common::stat(&supervisor, common::SESSION);
    assert_eq!(session, Some(supervisor), "a closed terminal does not reach it");

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = common::command(&["status"]).stdout(writer).status().unwrap();
    assert!(status.success(), "a reader that has seen enough: {status}");

    let second = tool(&["up"]);
    assert!(second.success && second.said.contains("already up"), "{}", second.said);
    let other = tool(&["up", "--nodes", "2"]);
    assert!(!other.success && other.said.contains("another shape"), "{}", other.said);

    let started = Instant::now();
    let down = tool(&["down"]);
    assert!(down.success, "{}", down.said);
    figure("taking it down, s", format!("{:.1}", started.elapsed().as_secs_f64()));
    let again = tool(&["down"]);
    assert!(again.success && again.said.contains("nothing is up"), "{}", again.said);
}

/// The command is killed after each of its first steps; whatever that left, the next `up` works.
fn up_after_the_command_was_killed() {
    let mut lines = 1;
    loop {
        let (mut up, reached) = start_and_read(lines);
        let done = reached.contains("is up");
        up.kill().unwrap();
        up.wait().unwrap();
        if done {
            break;
        }
        eprintln!("killed after: {reached}");
        // Every second one is followed by a `down`, not by another `up`.
        if lines % 2 == 0 {
            let down = tool(&["down"]);
            assert!(down.success || down.said.contains("starting or ending"), "{}", down.said);
        }
        lines += 1;
    }
    assert!(lines > 4, "the start has several steps");
    let up = tool(&["up"]);
    assert!(up.success, "{}", up.said);
    assert!(tool(&["down"]).success);
}

/// The supervisor is killed while it starts, and when all is up.
fn up_after_the_supervisor_was_killed(before: &Snapshot) {
    for lines in [2, 4] {
        let (mut up, reached) = start_and_read(lines);
        eprintln!("the supervisor is killed after: {reached}");
        kill_supervisor();
        let status = up.wait().unwrap();
        assert!(!status.success(), "up without a supervisor");
    }
    let up = tool(&["up"]);
    assert!(up.success, "{}", up.said);
    assert!(before.new_since().len() > 50, "a running cluster shows in many places");
    kill_supervisor();
    let left = Leftovers::find(&Cgroups::detect().unwrap());
    assert!(!left.namespaces.is_empty(), "a killed cluster leaves its namespaces");

    let up = tool(&["up"]);
    assert!(up.success && up.said.contains("removed what an earlier cluster left"), "{}", up.said);
    kill_supervisor();
    let down = tool(&["down"]);
    assert!(down.success && down.said.contains("removed what a killed cluster"), "{}", down.said);
}

fn an_attached_cluster_goes_with_its_owner() {
    let mut up = common::command(&["up", "--attached"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(up.stderr.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("is up")));
    assert!(tool(&["status"]).success);
    drop(up.stdin.take());
    assert!(up.wait().unwrap().success());
}

/// Starts `up` and reads this many lines of what it says, or up to its end.
fn start_and_read(lines: usize) -> (Child, String) {
    let mut up =
        common::command(&["up"]).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(up.stderr.take().unwrap()).lines();
    let mut last = String::new();
    for line in said.map_while(Result::ok).take(lines) {
        let done = line.contains("is up");
        last = line;
        if done {
            break;
        }
    }
    (up, last)
}

fn supervisor() -> String {
    std::fs::read_to_string(names::state_dir().join("supervisor.pid")).unwrap()
}

fn kill_supervisor() {
    let process = supervisor();
    assert!(Command::new("kill").args(["-KILL", &process]).status().unwrap().success());
    let started = Instant::now();
    // Its parent may be this test, which does not reap it: a zombie is gone too.
    while common::is_running(&process) {
        assert!(started.elapsed() < Duration::from_secs(10), "SIGKILL ends the supervisor");
        sleep(Duration::from_millis(10));
    }
}

fn assert_nothing_left(before: &Snapshot, after: &str) {
    let left = Leftovers::find(&Cgroups::detect().unwrap());
    assert!(left.is_empty(), "after {after}: {left:?}");
    // And by means that know nothing of how the tool names things.
    let new = before.new_since();
    assert!(new.is_empty(), "after {after}, new on the machine: {new:#?}");
}
