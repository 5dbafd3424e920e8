//! How much memory the cluster takes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// A figure of this age is still good. Tests ask for the status many times a second, and measuring
/// means to read something of every process of the machine.
const GOOD_FOR: Duration = Duration::from_secs(5);

/// The memory of this process and all its descendants.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<Option<(Instant, u64)>>);

impl Memory {
    /// In bytes, as it was some seconds ago at most.
    pub(super) async fn bytes(&self) -> u64 {
        let mut last = self.0.lock().await;
        if let Some((at, bytes)) = *last
            && at.elapsed() < GOOD_FOR
        {
            return bytes;
        }
        // On a thread of its own: the supervisor's only one has other things to do.
        let measured = tokio::task::spawn_blocking(|| of_descendants(std::process::id())).await;
        let bytes = measured.unwrap_or_default();
        *last = Some((Instant::now(), bytes));
        bytes
    }
}

/// The sum of the proportional set sizes of `root` and all its descendants, in bytes. Processes that
/// end meanwhile do not count.
fn of_descendants(root: u32) -> u64 {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if let Some((process, parent)) = parent_of(&entry.path()) {
            children.entry(parent).or_default().push(process);
        }
    }
    let mut all = BTreeSet::new();
    let mut next = vec![root];
    while let Some(process) = next.pop() {
        // Process numbers may be reused while we look: no circle holds us up.
        if all.insert(process) {
            next.extend(children.get(&process).into_iter().flatten());
        }
    }
    all.into_iter().filter_map(proportional_set_size).sum()
}

/// A process and its parent, from `/proc/<process>`.
pub(super) fn parent_of(folder: &Path) -> Option<(u32, u32)> {
    let process = folder.file_name()?.to_str()?.parse().ok()?;
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    // proc_pid_stat(5): the command in parentheses may hold anything; then state and parent.
    let (_, rest) = stat.rsplit_once(") ")?;
    Some((process, rest.split(' ').nth(1)?.parse().ok()?))
}

fn proportional_set_size(process: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn memory_is_not_measured_again_at_once() {
        let memory = Memory::default();
        let first = memory.bytes().await;
        assert!(first > 0);
        *memory.0.lock().await = Some((Instant::now(), 1));
        assert_eq!(memory.bytes().await, 1);
    }

    #[test]
    fn our_own_memory_and_parent_are_known() {
        let own = std::process::id();
        assert!(of_descendants(own) > 100 * 1024);
        let (process, parent) = parent_of(&Path::new("/proc").join(own.to_string())).unwrap();
        assert_eq!(process, own);
        assert_eq!(parent, std::os::unix::process::parent_id());
    }
}
