//! Control groups of our own, on either version of the kernel's interface.
//!
//! All of them are below one group, whose name says whose they are; so they are found by it when their
//! maker was killed. Each node gets `/baton-cluster/<node>` in every hierarchy; the kubelet takes that
//! for its root, and makes the pods' groups below. What has [limits](limited) of its own is made for one
//! process. Nothing outside is changed, but that on v2 every controller that the kernel has is enabled
//! for the root's children, and stays so: whether somebody else has come to need it meanwhile cannot be
//! known.

pub mod limited;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::names::PREFIX;

/// What the kubelet must have. `hugetlb` and others are enabled too where the kernel has them.
const REQUIRED_V2: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];

/// How often a group is tried that still has a dying process in it, and how long between tries.
const REMOVE_TRIES: u32 = 100;
const REMOVE_PAUSE: Duration = Duration::from_millis(50);

/// The control group hierarchies of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cgroups {
    /// One hierarchy for each controller or set of controllers.
    V1 {
        /// All of them.
        hierarchies: Vec<Hierarchy>,
        /// Is there a v2 hierarchy without controllers among them ("hybrid")?
        hybrid: bool,
    },
    /// One hierarchy for all.
    V2 {
        /// Where it is mounted.
        mount: PathBuf,
        /// Does systemd run this machine?
        systemd: bool,
    },
}

/// One hierarchy of v1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// What it controls.
    pub controllers: Vec<String>,
}

/// Why the control groups of this machine cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// No hierarchy is mounted.
    #[error("no control groups are mounted (mount -t cgroup2 none /sys/fs/cgroup)")]
    None,
    /// A controller that the kubelet needs is missing.
    #[error("cgroup v2 at {mount} has no controller {missing}; the kubelet needs {all}", all = REQUIRED_V2.join(", "))]
    Controllers {
        /// The mount.
        mount: PathBuf,
        /// The controllers, comma separated.
        missing: String,
    },
    /// A controller of v1 is not mounted.
    #[error("the cgroup v1 controller {0} is not mounted")]
    NotMounted(&'static str),
    /// A file of the hierarchy does not say what it should.
    #[error("control group file {path} says '{text}'")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What it says.
        text: String,
    },
    /// A file of the hierarchy could not be read or written.
    #[error("control group {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

trait At<T> {
    fn at(self, path: &Path) -> Result<T, CgroupError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T, CgroupError> {
        self.map_err(|source| CgroupError::Io { path: path.to_owned(), source })
    }
}

impl Cgroups {
    /// Looks at what is mounted.
    ///
    /// # Errors
    /// When nothing is.
    pub fn detect() -> Result<Self, CgroupError> {
        let path = Path::new("/proc/self/mountinfo");
        let mounts = fs::read_to_string(path).at(path)?;
        Self::from_mountinfo(&mounts, Path::new("/run/systemd/system").exists())
    }

    fn from_mountinfo(mountinfo: &str, systemd: bool) -> Result<Self, CgroupError> {
        let mut v1: Vec<Hierarchy> = Vec::new();
        let mut v2 = None;
        for line in mountinfo.lines() {
            // proc_pid_mountinfo(5): ... mount point (5th) ... " - " type, source, super options.
            let Some((head, tail)) = line.split_once(" - ") else { continue };
            let Some(mount) = head.split(' ').nth(4).map(PathBuf::from) else { continue };
            let mut tail = tail.split(' ');
            match tail.next() {
                Some("cgroup2") if v2.is_none() => v2 = Some(mount),
                Some("cgroup") if !v1.iter().any(|known| known.mount == mount) => {
                    let options = tail.nth(1).unwrap_or_default().split(',');
                    let controllers = options.filter(|option| !matches!(*option, "rw" | "ro"));
                    let controllers = controllers.map(str::to_owned).collect();
                    v1.push(Hierarchy { mount, controllers });
                }
                _ => {}
            }
        }
        match (v1.is_empty(), v2) {
            (true, None) => Err(CgroupError::None),
            (true, Some(mount)) => Ok(Self::V2 { mount, systemd }),
            (false, v2) => {
                let hybrid = v2.is_some();
                v1.extend(v2.map(|mount| Hierarchy { mount, controllers: Vec::new() }));
                Ok(Self::V1 { hierarchies: v1, hybrid })
            }
        }
    }

    /// Where this controller of v1 is mounted.
    fn mount_of(&self, controller: &str) -> Option<&Path> {
        let Self::V1 { hierarchies, .. } = self else { return None };
        let controls = |each: &&Hierarchy| each.controllers.iter().any(|name| name == controller);
        hierarchies.iter().find(controls).map(|hierarchy| &*hierarchy.mount)
    }

    fn mounts(&self) -> Vec<&Path> {
        match self {
            Self::V1 { hierarchies, .. } => {
                hierarchies.iter().map(|hierarchy| &*hierarchy.mount).collect()
            }
            Self::V2 { mount, .. } => vec![mount],
        }
    }

    /// A node's group, as the kubelet's `cgroupRoot` names it.
    #[must_use]
    pub fn node_root(node: &str) -> String {
        format!("/{PREFIX}/{node}")
    }

    /// Makes a node's group in every hierarchy.
    ///
    /// # Errors
    /// When a group cannot be made, or a controller that the kubelet needs is missing.
    pub fn create(&self, node: &str) -> Result<(), CgroupError> {
        match self {
            Self::V1 { hierarchies, .. } => {
                for Hierarchy { mount, controllers } in hierarchies {
                    let parent = mount.join(PREFIX);
                    let group = parent.join(node);
                    fs::create_dir_all(&group).at(&group)?;
                    // Hybrid machines' v2 mount has no controllers: the group is there only because
                    // runc makes its own below it. Groups of `cpuset` start unusable.
                    if controllers.iter().any(|controller| controller == "cpuset") {
                        copy_cpuset(mount, &parent)?;
                        copy_cpuset(&parent, &group)?;
                    }
                }
                Ok(())
            }
            Self::V2 { mount, .. } => make_v2(mount, &[PREFIX, node]).map(drop),
        }
    }

    /// Every group from the one that is called `root` on, parents after their children.
    #[must_use]
    pub fn below(&self, root: &str) -> Vec<PathBuf> {
        let mut groups = Vec::new();
        for mount in self.mounts() {
            let root = mount.join(root);
            if root.is_dir() {
                collect(&root, &mut groups);
            }
        }
        groups
    }

    /// The processes in those groups.
    #[must_use]
    pub fn processes(&self, root: &str) -> Vec<i32> {
        let mut found: Vec<i32> = self
            .below(root)
            .iter()
            .filter_map(|group| fs::read_to_string(group.join("cgroup.procs")).ok())
            .flat_map(|ids| ids.lines().filter_map(|id| id.parse().ok()).collect::<Vec<_>>())
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Removes those groups. A killed process leaves its group a little later, hence several tries.
    ///
    /// # Errors
    /// When a group is still busy after some seconds.
    pub async fn remove(&self, root: &str) -> Result<(), CgroupError> {
        for attempt in 1.. {
            let mut failed = None;
            for group in self.below(root) {
                match fs::remove_dir(&group) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        failed = Some(Err(error).at(&group));
                    }
                    _ => {}
                }
            }
            match failed {
                None => break,
                Some(error) if attempt == REMOVE_TRIES => return error,
                Some(_) => tokio::time::sleep(REMOVE_PAUSE).await,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Cgroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 { hybrid: true, .. } => "cgroup v1 (hybrid)",
            Self::V1 { hybrid: false, .. } => "cgroup v1",
            Self::V2 { systemd: true, .. } => "cgroup v2 under systemd",
            Self::V2 { systemd: false, .. } => "cgroup v2",
        })
    }
}

fn collect(group: &Path, into: &mut Vec<PathBuf>) {
    // A group may go away while we look.
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), into);
        }
    }
    into.push(group.to_owned());
}

fn copy_cpuset(from: &Path, to: &Path) -> Result<(), CgroupError> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let value = fs::read_to_string(from.join(file)).at(&from.join(file))?;
        let target = to.join(file);
        fs::write(&target, value.trim_end()).at(&target)?;
    }
    Ok(())
}

/// Makes the group with this path. Controllers are enabled from the top down: a group has only what its
/// parent hands on.
fn make_v2(mount: &Path, path: &[&str]) -> Result<PathBuf, CgroupError> {
    let mut group = mount.to_owned();
    for name in path {
        enable_controllers(&group)?;
        group.push(name);
        fs::create_dir_all(&group).at(&group)?;
    }
    Ok(group)
}

fn enable_controllers(group: &Path) -> Result<(), CgroupError> {
    let file = group.join("cgroup.controllers");
    let available = fs::read_to_string(&file).at(&file)?;
    let available: Vec<&str> = available.split_whitespace().collect();
    let missing: Vec<&str> =
        REQUIRED_V2.into_iter().filter(|needed| !available.contains(needed)).collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        return Err(CgroupError::Controllers { mount: group.to_owned(), missing });
    }
    let file = group.join("cgroup.subtree_control");
    let enable: Vec<String> = available.iter().map(|name| format!("+{name}")).collect();
    fs::write(&file, enable.join(" ")).at(&file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 25 0:27 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:28 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
34 31 0:30 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
40 31 0:36 / /sys/fs/cgroup/systemd rw,relatime shared:3 - cgroup cgroup rw,name=systemd
41 31 0:37 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn a_hybrid_machine_is_v1_with_its_v2_mount() {
        let found = Cgroups::from_mountinfo(HYBRID, false).unwrap();
        let Cgroups::V1 { hierarchies, hybrid } = &found else { panic!("{found}") };
        let controllers: Vec<_> =
            hierarchies.iter().map(|each| each.controllers.join(" ")).collect();
        assert_eq!(controllers, ["cpu", "cpuset", "name=systemd", ""]);
        assert_eq!(hierarchies[3].mount, Path::new("/sys/fs/cgroup/unified"));
        assert!(hybrid);
        assert_eq!(found.to_string(), "cgroup v1 (hybrid)");
    }

    #[test]
    fn a_desktop_is_v2_under_systemd() {
        let line = "35 24 0:29 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate";
        let found = Cgroups::from_mountinfo(line, true).unwrap();
        assert_eq!(found, Cgroups::V2 { mount: "/sys/fs/cgroup".into(), systemd: true });
        assert_eq!(found.to_string(), "cgroup v2 under systemd");
    }

    #[test]
    fn a_machine_without_any_is_refused() {
        let only_root = "1 0 254:0 / / rw - ext4 /dev/vda rw";
        assert!(matches!(Cgroups::from_mountinfo(only_root, true), Err(CgroupError::None)));
    }

    #[test]
    fn v2_controllers_are_handed_down_and_a_missing_one_is_named() {
        let scratch = tempfile::tempdir().unwrap();
        let group = scratch.path();
        fs::write(group.join("cgroup.controllers"), "cpuset cpu io memory pids\n").unwrap();
        enable_controllers(group).unwrap();
        let written = fs::read_to_string(group.join("cgroup.subtree_control")).unwrap();
        assert_eq!(written, "+cpuset +cpu +io +memory +pids");

        fs::write(group.join("cgroup.controllers"), "io\n").unwrap();
        let said = enable_controllers(group).unwrap_err().to_string();
        assert!(said.contains("cpu, cpuset, memory, pids"), "{said}");
    }
}
