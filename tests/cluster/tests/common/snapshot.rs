//! What a cluster could leave on the machine, by the machine's own means.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{PARENT, stat};

/// Words that only a cluster's processes and files bear.
const WORDS: [&str; 9] =
    ["baton", "cni", "containerd", "etcd", "kube", "netns", "pause", "runc", "testpod"];

/// Folders in which daemons like to leave files; and `.kube` at home.
const FOLDERS: [&str; 5] = ["/etc", "/opt", "/run", "/usr/libexec", "/var"];

/// `ip netns` makes and mounts this the first time that it is used on a machine, for good.
const NETNS: &str = "/run/netns";

/// Mounts that come and go with the logins and services of a machine under systemd.
const SYSTEMD_MOUNTS: [&str; 2] = ["/run/credentials/", "/run/user/"];

/// Programs that take in the orphans of a container or a login.
const INITS: [&str; 6] = ["catatonit", "docker-init", "dumb-init", "init", "systemd", "tini"];

/// Traces, each a line.
#[derive(Debug)]
pub(crate) struct Snapshot(BTreeSet<String>);

impl Snapshot {
    pub(crate) fn take() -> Self {
        let mut traces = BTreeSet::new();
        for (kind, command) in [
            ("namespace", &["ip", "netns", "list"][..]),
            ("link", &["ip", "-brief", "link"]),
            ("route", &["ip", "route"]),
            ("rule", &["nft", "list", "ruleset"]),
        ] {
            let output = Command::new(command[0]).args(&command[1..]).output().unwrap();
            for line in String::from_utf8_lossy(&output.stdout).lines() {
                // A link's counters and states change by themselves: its name is enough.
                let words = if kind == "link" { 1 } else { usize::MAX };
                let words: Vec<&str> = line.split_whitespace().take(words).collect();
                traces.insert(format!("{kind} {}", words.join(" ")));
            }
        }
        for line in fs::read_to_string("/proc/self/mountinfo").unwrap().lines() {
            let point = line.split(' ').nth(4).unwrap();
            if point != NETNS && !SYSTEMD_MOUNTS.iter().any(|own| point.starts_with(own)) {
                traces.insert(format!("mount {point}"));
            }
        }
        processes(&mut traces);
        let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".kube"));
        for folder in FOLDERS.map(PathBuf::from).into_iter().chain(home) {
            files(&folder, &mut traces);
        }
        control_groups(Path::new("/sys/fs/cgroup"), &mut traces);
        Self(traces)
    }

    /// What is there now and was not then.
    pub(crate) fn new_since(&self) -> Vec<String> {
        Self::take().0.difference(&self.0).cloned().collect()
    }
}

fn processes(traces: &mut BTreeSet<String>) {
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if !name.bytes().all(|byte| byte.is_ascii_digit()) || !super::is_running(&name) {
            continue;
        }
        // The kernel's own have no command line, and name what they work at.
        if fs::read(entry.path().join("cmdline")).unwrap_or_default().is_empty() {
            continue;
        }
        // By the program's own name: a path may hold any word.
        let program = program(&name);
        if is_ours(&program) && !is_of_another(&name) {
            traces.insert(format!("process {name} {program}"));
        }
    }
}

fn program(process: &str) -> String {
    let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
    name.trim_end().to_owned()
}

/// Did somebody else start this process, who is still there: another test, beside this one? What a cluster leaves are this test's own
/// descendants, or orphans and their descendants.
fn is_of_another(process: &str) -> bool {
    let own = std::process::id().to_string();
    let mut process = process.to_owned();
    loop {
        if process == own {
            return false;
        }
        // It has just ended.
        let Some(parent) = stat(&process, PARENT) else { return false };
        // The first process, or one that takes orphans in as it does.
        if parent == "1" || parent == "0" || INITS.contains(&program(&parent).as_str()) {
            return !is_ours(&program(&process));
        }
        process = parent;
    }
}

fn files(folder: &Path, traces: &mut BTreeSet<String>) {
    // Symbolic links are not followed: `/var/run` is `/run`.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path != Path::new(NETNS) && is_ours(&path.to_string_lossy()) {
            traces.insert(format!("file {}", path.display()));
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            files(&path, traces);
        }
    }
}

fn control_groups(folder: &Path, traces: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let group = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if group && !is_systemds(&entry.path()) {
            traces.insert(format!("control group {}", entry.path().display()));
            control_groups(&entry.path(), traces);
        }
    }
}

/// Is this control group one that systemd makes for a login, a timer or a service that is not ours?
/// They come and go on any machine that is in use.
fn is_systemds(group: &Path) -> bool {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (own, parent) = (name(group), group.parent().map(name).unwrap_or_default());
    let is_login = own == "user.slice" || (own.starts_with("session-") && own.ends_with(".scope"));
    is_login || (parent == "system.slice" && !is_ours(&own))
}

#[test]
fn processes_of_others_do_not_count_and_orphans_and_our_own_do() {
    let mut own = Command::new("sleep").arg("60").spawn().unwrap();
    assert!(!is_of_another(&own.id().to_string()), "a child");
    own.kill().unwrap();
    own.wait().unwrap();
    assert!(!is_of_another(&own.id().to_string()), "gone");
    let parent = stat("self", PARENT).unwrap();
    // Whatever started this test is of somebody else, unless it is the machine's first process.
    assert!(parent == "1" || parent == "0" || is_of_another(&parent), "{}", program(&parent));
}

#[test]
fn only_systemds_own_control_groups_may_come_and_go() {
    for (group, expected) in [
        ("/sys/fs/cgroup/user.slice", true),
        ("/sys/fs/cgroup/systemd/user.slice", true),
        ("/sys/fs/cgroup/session-7.scope", true),
        ("/sys/fs/cgroup/system.slice/apt-daily.service", true),
        ("/sys/fs/cgroup/system.slice/containerd.service", false),
        ("/sys/fs/cgroup/system.slice", false),
        ("/sys/fs/cgroup/kubepods", false),
        ("/sys/fs/cgroup/cpu/system", false),
    ] {
        assert_eq!(is_systemds(Path::new(group)), expected, "{group}");
    }
}

fn is_ours(text: &str) -> bool {
    WORDS.iter().any(|word| text.contains(word))
}
