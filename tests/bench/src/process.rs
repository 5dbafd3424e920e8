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
            Err(error) if has_ended(&error) => continue,
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

/// Whether a thread's file cannot be read because the thread is no more: it is not there, or was opened before (ESRCH).
fn has_ended(error: &io::Error) -> bool {
    const ESRCH: i32 = 3;
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH)
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
        assert!(resident(me).unwrap() > memory + (50 << 20));
        // Other tests' threads end meanwhile, and take along what they have used.
        let end = std::time::Instant::now() + Duration::from_secs(30);
        while cpu(me).unwrap() <= time {
            assert!(std::time::Instant::now() < end, "no more than {time:?} was used");
        }
    }

    #[test]
    fn threads_may_end_while_it_is_asked() {
        let asking =
            std::thread::spawn(|| (0..2000).try_for_each(|_| cpu(std::process::id()).map(drop)));
        while !asking.is_finished() {
            let threads: Vec<_> = (0..8).map(|_| std::thread::spawn(|| ())).collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        }
        asking.join().unwrap().unwrap();
    }
}
