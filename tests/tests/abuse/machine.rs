//! How much of this machine's CPU time went to whom.

use std::fs;
use std::time::Duration;

/// CPU time since the machine was started, and of this process since it was, in the kernel's ticks of 10 ms
/// (proc_stat(5), proc_pid_stat(5)).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    all: u64,
    me: u64,
}

impl Used {
    /// Until now.
    pub(crate) fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").expect("the kernel says");
        let line = stat.lines().next().expect("a line for all processors");
        let ticks: Vec<u64> =
            line.split_whitespace().skip(1).filter_map(|ticks| ticks.parse().ok()).collect();
        // user, nice, system, idle, iowait, irq, softirq; what is stolen is nobody's here.
        let all = ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6];
        let stat = fs::read_to_string("/proc/self/stat").expect("the kernel says");
        let (_, rest) = stat.rsplit_once(") ").expect("a command in parentheses");
        let of_me = rest.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok());
        Self { all, me: of_me.sum() }
    }

    /// What neither this process has used since, nor those who used `ours`.
    pub(crate) fn others_since(&self, before: &Self, ours: Duration) -> Duration {
        let others = (self.all - before.all).saturating_sub(self.me - before.me);
        Duration::from_millis(others * 10).saturating_sub(ours)
    }
}
