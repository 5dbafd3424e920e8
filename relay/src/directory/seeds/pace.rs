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
fn a_broadcast_tells_a_hundred_and_twenty_five_every_five_milliseconds_and_everyone_once() {
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
        flag.send_replace(Some(Flag {
            id: "u-1".into(),
            grace_seconds: 60,
            reason: Reason::Rollout,
            max_sessions_per_second: 100,
        }));
        let gone = told_in_batches(&mut inboxes).await;
        let slots: Option<Vec<Duration>> = gone
            .into_iter()
            .map(|command| match command {
                Command::Go { slot, .. } => Some(slot.reconnect_after),
                Command::Serve => None,
            })
            .collect();
        let slots = slots.expect("nobody is told to stay");
        assert!(slots.is_sorted(), "who goes first is told first");
        assert_eq!(
            slots.last(),
            Some(&Duration::from_secs(10)),
            "1,000 after the first, at 100 per second"
        );
        flag.send_replace(None);
        let stay = told_in_batches(&mut inboxes).await;
        assert!(stay.iter().all(|command| *command == Command::Serve), "nobody is told to go");
        stop.send_replace(true);
        driver.await.unwrap();
        for (_, inbox) in inboxes.values() {
            assert!(!inbox.command.has_changed().unwrap(), "told twice");
        }
    });
}

/// What everyone is told, in its order. It comes in batches with pauses between them.
async fn told_in_batches(inboxes: &mut BTreeMap<SessionId, (Arc<Handle>, Inbox)>) -> Vec<Command> {
    let started = Instant::now();
    // On one thread the driver runs only while this waits: so no batch is missed.
    let mut batches = Vec::new();
    let mut told = Vec::new();
    while told.len() < inboxes.len() {
        assert!(started.elapsed() < Duration::from_secs(30), "told so far: {batches:?}");
        tokio::task::yield_now().await;
        let before = told.len();
        for (_, inbox) in inboxes.values_mut() {
            if inbox.command.has_changed().unwrap() {
                told.push(*inbox.command.borrow_and_update());
            }
        }
        if told.len() > before {
            batches.push(told.len() - before);
        }
    }
    assert_eq!(batches, [125, 125, 125, 125, 125, 125, 125, 125, 1]);
    assert!(started.elapsed() >= Duration::from_millis(40), "eight pauses between them");
    told
}
