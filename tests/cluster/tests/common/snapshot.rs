//! What a cluster could leave on the machine, by the machine's own means.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Words that only a cluster's processes and files bear.
const WORDS: [&str; 9] =
    ["baton", "cni", "containerd", "etcd", "kube", "netns", "pause", "runc", "testpod"];

/// Folders in which daemons like to leave files.
const FOLDERS: [&str; 6] = ["/etc", "/opt", "/run", "/usr/libexec", "/var", "/root/.kube"];

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
            // `ip netns` mounts this the first time it is used, for good.
            if point != "/run/netns" {
                traces.insert(format!("mount {point}"));
            }
        }
        processes(&mut traces);
        for folder in FOLDERS {
            files(Path::new(folder), &mut traces);
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
        let program = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if is_ours(&program) {
            traces.insert(format!("process {name} {program}"));
        }
    }
}

fn files(folder: &Path, traces: &mut BTreeSet<String>) {
    // Symbolic links are not followed: `/var/run` is `/run`.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if is_ours(&path.to_string_lossy()) {
            traces.insert(format!("file {}", path.display()));
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            files(&path, traces);
        }
    }
}

fn control_groups(folder: &Path, traces: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            traces.insert(format!("control group {}", entry.path().display()));
            control_groups(&entry.path(), traces);
        }
    }
}

fn is_ours(text: &str) -> bool {
    WORDS.iter().any(|word| text.contains(word))
}
