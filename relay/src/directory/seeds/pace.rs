//! How fast sessions are told to go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_protocol::id::SessionId;
use tokio::sync::watch;

use super::sessions::Sessions;
use crate::drain::driver;
use crate::drain::{Flag, Reason};
use crate::session::handle::{Command, Handle, Inbox};

const COUNT: u64 = 1001;

#[test]
fn a_round_looks_at_everyone_once_whoever_comes_and_goes_meanwhile() {
    let sessions = Sessions::new();
    let directory = sessions.directory();
    let add = || {
        let (handle, _) = sessions.one(directory.next_session());
        directory.add(&handle).unwrap();
        handle
    };
    let before: Vec<_> = (0..COUNT).map(|_| add()).collect();
    let (mut looked_at, mut last, mut came) = (Vec::new(), None, Vec::new());
    loop {
        let some = directory.sessions_after(last, 100);
        let Some(handle) = some.last() else { break };
        last = Some(handle.id);
        // The last one that was looked at goes, and another comes.
        directory.forget(handle);
        looked_at.extend(some.iter().map(|handle| handle.id));
        if came.len() < 5 {
            came.push(add());
        }
    }
    let there: Vec<_> = before.iter().chain(&came).map(|handle| handle.id).collect();
    assert_eq!(looked_at, there);
}

#[test]
fn a_broadcast_tells_two_hundred_every_five_milliseconds_and_everyone_once() {
    let sessions = Sessions::new();
    let directory = sessions.directory();
    let mut inboxes: BTreeMap<SessionId, (Arc<Handle>, Inbox)> = BTreeMap::new();
    for _ in 0..COUNT {
        let (handle, inbox) = sessions.one(directory.next_session());
        directory.add(&handle).unwrap();
        inboxes.insert(handle.id, (handle, inbox));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (flag, flag_set) = watch::channel(None);
        let (stop, stopped) = watch::channel(false);
        let driver =
            tokio::spawn(driver::drive(directory, sessions.metrics.clone(), flag_set, stopped));
        tokio::task::yield_now().await;
        let started = Instant::now();
        flag.send_replace(Some(Flag {
            id: "u-1".into(),
            grace_seconds: 60,
            reason: Reason::Rollout,
            max_sessions_per_second: 100,
        }));
        // On one thread the driver runs only while this waits: so no batch is missed.
        let mut batches = Vec::new();
        let mut slots = Vec::new();
        while slots.len() < inboxes.len() {
            assert!(started.elapsed() < Duration::from_secs(30), "told so far: {batches:?}");
            tokio::task::yield_now().await;
            let before = slots.len();
            for (_, inbox) in inboxes.values_mut() {
                if inbox.command.has_changed().unwrap()
                    && let Command::Go { slot, .. } = *inbox.command.borrow_and_update()
                {
                    slots.push(slot.reconnect_after);
                }
            }
            if slots.len() > before {
                batches.push(slots.len() - before);
            }
        }
        assert_eq!(batches, [125, 125, 125, 125, 125, 125, 125, 125, 1]);
        assert!(started.elapsed() >= Duration::from_millis(40), "eight pauses between them");
        assert!(slots.is_sorted(), "who goes first is told first");
        assert_eq!(
            slots.last(),
            Some(&Duration::from_secs(10)),
            "1,000 after the first, at 100 per second"
        );
        stop.send_replace(true);
        driver.await.unwrap();
        for (_, inbox) in inboxes.values() {
            assert!(!inbox.command.has_changed().unwrap(), "told twice");
        }
    });
}
