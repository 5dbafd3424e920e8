//! What a process has used, as the kernel says.

use std::fs;
use std::io;
use std::time::Duration;

/// The time that all threads of a process were on a CPU, to the nanosecond (`/proc/PID/task/*/schedstat`). Threads that have
/// ended are not in it: those of relays live long.
pub(crate) fn cpu(pid: u32) -> io::Result<Duration> {
    let mut nanoseconds = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = task?.path().join("schedstat");
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            read => read?,
        };
        let first = text.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
        nanoseconds += first.ok_or_else(|| {
            io::Error::other(format!(
                "{} is '{text}': the kernel keeps no such account",
                path.display()
            ))
        })?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// The bytes of memory that are really there (`VmRSS`).
pub(crate) fn resident(pid: u32) -> io::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path)?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes
        .map(|kibibytes| kibibytes * 1024)
        .ok_or_else(|| io::Error::other(format!("{path} has no VmRSS")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_and_holds_has_used_time_and_memory() {
        let me = std::process::id();
        let (time, memory) = (cpu(me).unwrap(), resident(me).unwrap());
        let held: Vec<u8> = (0..64 << 20).map(|n: u32| (n % 251) as u8).collect();
        assert!(held.contains(&250));
        assert!(cpu(me).unwrap() > time);
        assert!(resident(me).unwrap() > memory + (50 << 20));
    }
}
