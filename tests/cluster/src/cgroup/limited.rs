//! A group with limits, for one process and what it starts: how much CPU and memory it may have, and what it has had.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{At as _, CgroupError, Cgroups, make_v2};

/// Within such a period a group uses its CPU time, and is stopped when it has: the kernel's default, and so Kubernetes'.
const PERIOD_US: u64 = 100_000;

/// Puts the shell itself into each of the groups that it is given, up to `--`, and becomes the rest.
const ENTER: &str = r#"while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs" || exit 125; shift; done; shift; exec "$@""#;

/// Before others of this machine, whoever wants a processor: what a group may have is to be had.
const WEIGHT_V1: &str = "10240";
const WEIGHT_V2: &str = "1000";

/// What a group may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// CPU time, in percent of one processor.
    pub cpu_percent: u64,
    /// Memory, in bytes.
    pub memory: u64,
}

/// See the [module](self). It is removed by [`Cgroups::remove`], with the group that it is below.
#[derive(Debug)]
pub enum Limited {
    /// On v1 it is one in each hierarchy that is needed.
    V1 {
        /// That which limits CPU time.
        cpu: PathBuf,
        /// That which counts CPU time.
        cpuacct: PathBuf,
        /// That which limits and counts memory.
        memory: PathBuf,
    },
    /// On v2 it is one.
    V2(PathBuf),
}

impl Limited {
    /// Makes the group with this path, whose parts are names of groups.
    ///
    /// # Errors
    /// When it cannot be made, or a controller is missing.
    pub fn create(cgroups: &Cgroups, path: &[&str], limits: Limits) -> Result<Self, CgroupError> {
        let limited = match cgroups {
            Cgroups::V1 { .. } => Self::V1 {
                cpu: make_v1(cgroups, "cpu", path)?,
                cpuacct: make_v1(cgroups, "cpuacct", path)?,
                memory: make_v1(cgroups, "memory", path)?,
            },
            Cgroups::V2 { mount, .. } => Self::V2(make_v2(mount, path)?),
        };
        limited.favour(cgroups, path)?;
        let quota = limits.cpu_percent * PERIOD_US / 100;
        let memory = limits.memory.to_string();
        match &limited {
            Self::V1 { cpu, memory: group, .. } => {
                write(cpu, "cpu.cfs_period_us", &PERIOD_US.to_string())?;
                write(cpu, "cpu.cfs_quota_us", &quota.to_string())?;
                write(group, "memory.limit_in_bytes", &memory)?;
            }
            Self::V2(group) => {
                write(group, "cpu.max", &format!("{quota} {PERIOD_US}"))?;
                write(group, "memory.max", &memory)?;
            }
        }
        Ok(limited)
    }

    /// Gives the first group of the path, and so all that is in it, more weight than others have.
    fn favour(&self, cgroups: &Cgroups, path: &[&str]) -> Result<(), CgroupError> {
        let first =
            |mount: &Path| path.iter().take(1).fold(mount.to_owned(), |at, name| at.join(name));
        match cgroups {
            Cgroups::V1 { .. } => {
                let mount = cgroups.mount_of("cpu").ok_or(CgroupError::NotMounted("cpu"))?;
                write(&first(mount), "cpu.shares", WEIGHT_V1)
            }
            Cgroups::V2 { mount, .. } => write(&first(mount), "cpu.weight", WEIGHT_V2),
        }
    }

    /// A command whose process is in the group from its first instruction on.
    #[must_use]
    pub fn command<S: AsRef<OsStr>>(
        &self,
        program: &Path,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", ENTER, "sh"]).args(self.folders()).arg("--").arg(program);
        command.args(arguments.into_iter().map(|argument| OsString::from(argument.as_ref())));
        command
    }

    /// The most memory that it ever had, in bytes.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn peak_memory(&self) -> Result<u64, CgroupError> {
        match self {
            Self::V1 { memory, .. } => number(memory, "memory.max_usage_in_bytes"),
            // Linux 5.19 and later.
            Self::V2(group) => number(group, "memory.peak"),
        }
    }

    /// How many of its processes were killed because there was no more memory.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn out_of_memory(&self) -> Result<u64, CgroupError> {
        match self {
            Self::V1 { memory, .. } => field(memory, "memory.oom_control", "oom_kill"),
            Self::V2(group) => field(group, "memory.events", "oom_kill"),
        }
    }

    /// The CPU time that it has used.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn cpu_time(&self) -> Result<Duration, CgroupError> {
        Ok(match self {
            Self::V1 { cpuacct, .. } => Duration::from_nanos(number(cpuacct, "cpuacct.usage")?),
            Self::V2(group) => Duration::from_micros(field(group, "cpu.stat", "usage_usec")?),
        })
    }

    /// In how many periods it was stopped, because it had used its CPU time.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn throttled_periods(&self) -> Result<u64, CgroupError> {
        let (Self::V1 { cpu: group, .. } | Self::V2(group)) = self;
        field(group, "cpu.stat", "nr_throttled")
    }

    fn folders(&self) -> Vec<&Path> {
        match self {
            Self::V1 { cpu, cpuacct, memory } => vec![cpu, cpuacct, memory],
            Self::V2(group) => vec![group],
        }
    }
}

fn make_v1(
    cgroups: &Cgroups,
    controller: &'static str,
    path: &[&str],
) -> Result<PathBuf, CgroupError> {
    let mount = cgroups.mount_of(controller).ok_or(CgroupError::NotMounted(controller))?;
    let group = path.iter().fold(mount.to_owned(), |group, name| group.join(name));
    fs::create_dir_all(&group).at(&group)?;
    Ok(group)
}

fn write(group: &Path, file: &str, value: &str) -> Result<(), CgroupError> {
    let path = group.join(file);
    fs::write(&path, value).at(&path)
}

fn read(group: &Path, file: &str) -> Result<String, CgroupError> {
    let path = group.join(file);
    fs::read_to_string(&path).at(&path)
}

fn number(group: &Path, file: &str) -> Result<u64, CgroupError> {
    let text = read(group, file)?;
    text.trim().parse().map_err(|_| CgroupError::Unreadable { path: group.join(file), text })
}

/// The number behind a name, in a file with one of each on a line.
fn field(group: &Path, file: &str, name: &str) -> Result<u64, CgroupError> {
    let text = read(group, file)?;
    let value = text.lines().filter_map(|line| line.split_once(' ')).find(|(key, _)| *key == name);
    let value = value.and_then(|(_, value)| value.trim().parse().ok());
    value.ok_or_else(|| CgroupError::Unreadable { path: group.join(file), text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read_and_what_it_does_not_say_is_named() {
        let group = tempfile::tempdir().unwrap();
        let path = group.path();
        fs::write(path.join("memory.peak"), "1234\n").unwrap();
        fs::write(path.join("memory.events"), "low 0\noom 3\noom_kill 2\n").unwrap();
        fs::write(path.join("cpu.stat"), "usage_usec 1500\nnr_throttled 7\n").unwrap();
        let limited = Limited::V2(path.to_owned());
        assert_eq!(limited.peak_memory().unwrap(), 1234);
        assert_eq!(limited.out_of_memory().unwrap(), 2);
        assert_eq!(limited.cpu_time().unwrap(), Duration::from_micros(1500));
        assert_eq!(limited.throttled_periods().unwrap(), 7);
        fs::write(path.join("memory.events"), "low 0\n").unwrap();
        let said = limited.out_of_memory().unwrap_err().to_string();
        assert!(said.contains("memory.events") && said.contains("low 0"), "{said}");
    }

    #[test]
    fn a_command_is_in_its_groups_before_it_begins() {
        let (cpu, cpuacct, memory) = (
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
        );
        let folder = |of: &tempfile::TempDir| of.path().to_owned();
        let limited =
            Limited::V1 { cpu: folder(&cpu), cpuacct: folder(&cpuacct), memory: folder(&memory) };
        let said = limited
            .command("sh".as_ref(), ["-c", r#"echo "$$ $1""#, "sh", "two words"])
            .output()
            .unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        let (id, words) = said.trim().split_once(' ').unwrap();
        assert_eq!(words, "two words");
        for group in [&cpu, &cpuacct, &memory] {
            let inside = fs::read_to_string(group.path().join("cgroup.procs")).unwrap();
            assert_eq!(inside.trim(), id);
        }
    }
}
