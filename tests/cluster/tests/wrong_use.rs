//! A wrong use gives one clear line and a non-zero exit, and starts nothing.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use baton_cluster::cgroup::Cgroups;
use baton_cluster::leftovers::Leftovers;
use common::{Ran, command, ran, tool};

/// Every use says what is wrong in its last line, which is the only one after the progress.
fn assert_refused(ran: &Ran, expected: &[&str]) {
    assert!(!ran.success, "it is refused: {}", ran.said);
    let complaints: Vec<&str> =
        ran.said.lines().filter(|line| line.starts_with("baton-cluster: ")).collect();
    let [complaint] = complaints[..] else { panic!("one complaint: {}", ran.said) };
    for word in expected {
        assert!(complaint.contains(word), "`{word}` in: {complaint}");
    }
    assert_eq!(ran.said.lines().last(), Some(complaint), "nothing follows");
}

#[test]
fn a_command_line_that_makes_no_sense() {
    for (arguments, expected) in [
        (&["no-such-verb"][..], &["no-such-verb", "--help"][..]),
        (&["up", "--nodes", "0"], &["0", "1..=9"]),
        (&["up", "--nodes", "ten"], &["ten"]),
        (&["up", "--proxy-mode", "ipvs"], &["ipvs"]),
        (&["up", "--api-port", "70000"], &["70000"]),
        (&["up", "extra"], &["extra"]),
        (&["link", "n1", "sideways"], &["sideways"]),
        (&["link", "n0", "down"], &["n1 to n9"]),
        (&["node-exec", "n1"], &["COMMAND"]),
        (&["load-image", "/no/such/file"], &["/no/such/file"]),
    ] {
        assert_refused(&tool(arguments), expected);
    }
}

#[test]
fn without_a_cluster() {
    for arguments in [
        &["status"][..],
        &["env"],
        &["link", "n1", "down"],
        &["client", "add", "a"],
        &["node-exec", "n1", "--", "true"],
    ] {
        let refused = tool(arguments);
        assert_refused(&refused, &["no cluster is up", "make cluster-up"]);
        assert_eq!(refused.status, Some(3), "for scripts");
    }
}

#[test]
fn without_root() {
    assert_refused(&as_nobody(&["up"]), &["root"]);
}

/// Runs the command as a user without rights.
fn as_nobody(arguments: &[&str]) -> Ran {
    let scratch = tempfile::tempdir().unwrap();
    // Somewhere that everybody can read.
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = scratch.path().join("baton-cluster");
    fs::copy(env!("CARGO_BIN_EXE_baton-cluster"), &copy).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(copy).args(arguments);
    ran(&mut command)
}

#[test]
fn with_packages_missing() {
    let refused = ran(command(&["up"]).env("PATH", "/nowhere"));
    assert_refused(&refused, &["apt-get install", "conntrack containerd iproute2", "nftables"]);
}

#[test]
fn with_a_go_that_is_missing_or_too_old() {
    let without_go = all_programs_but("go");
    let refused = ran(command(&["up"]).env("PATH", without_go.path()));
    assert_refused(&refused, &["Go is not installed", "1.25"]);

    let (_scratch, path) = path_with("go", "echo go1.19.8");
    assert_refused(&ran(command(&["up"]).env("PATH", path)), &["go1.19.8", "too old", "1.25"]);
}

/// A folder with a link to every program on the `PATH` but this one, which may lie among others.
fn all_programs_but(left_out: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let folders = std::env::split_paths(&path).filter_map(|folder| fs::read_dir(folder).ok());
    for program in folders.flatten().flatten().filter(|program| program.file_name() != left_out) {
        // A second one of a name is hidden by the first, as on the `PATH`.
        let _ = symlink(program.path(), folder.path().join(program.file_name()));
    }
    folder
}

/// A `PATH` on which this program comes first, for as long as the folder exists.
fn path_with(program: &str, script: &str) -> (tempfile::TempDir, String) {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join(program);
    fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", scratch.path().display(), std::env::var("PATH").unwrap());
    (scratch, path)
}

/// These need the state folder, one after the other.
#[test]
fn with_the_port_taken_or_the_lock_or_a_daemon_that_ends() {
    // Not a wrong use, but a wrong machine: it shows what the daemon said, and where its log is.
    let (_scratch, path) = path_with("containerd", "echo no space left; exit 3");
    let failed = ran(command(&["up"]).env("PATH", path));
    assert!(!failed.success);
    for expected in ["containerd of n", "exited (status 3)", "no space left", "the whole log is"] {
        assert!(failed.said.contains(expected), "`{expected}` in: {}", failed.said);
    }
    let log = failed.said.split_whitespace().last().unwrap();
    assert!(fs::read_to_string(log).unwrap().contains("no space left"));

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    assert_refused(&tool(&["up", "--api-port", &port]), &[&port, "taken", "--api-port"]);
    // Nothing was started, and its log is all that stays, until the next `up` or `down`.
    let left = Leftovers::find(&Cgroups::detect().unwrap());
    assert!(left.processes.is_empty() && left.namespaces.is_empty(), "{left:?}");

    let state = baton_cluster::names::state_dir();
    fs::create_dir_all(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
    for verb in ["status", "down"] {
        let started = Instant::now();
        assert_refused(&as_nobody(&[verb]), &["run it as root"]);
        assert!(started.elapsed() < Duration::from_secs(5), "{verb} says so at once");
    }
    // As another supervisor would: the lock is free when this child's input ends.
    let mut holder = Command::new("flock")
        .arg(&state)
        .args(["sh", "-c", "echo held; cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut held = [0; 5];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut held).unwrap();
    let locked = tool(&["up", "--wait-seconds", "1"]);
    assert_refused(&locked, &["another cluster is starting or ending"]);
    assert_refused(&tool(&["down"]), &["starting or ending"]);
    drop(holder.stdin.take());
    holder.wait().unwrap();
    assert!(tool(&["down"]).success);
    assert!(!state.exists());
}
