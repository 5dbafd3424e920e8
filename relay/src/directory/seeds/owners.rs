//! Sessions come and go while the flag is set, changed and withdrawn, in every order: each has exactly one owner.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use baton_protocol::id::SessionId;
use baton_protocol::session::Outcome;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::sessions::Sessions;
use super::turns::{self, Actor};
use crate::directory::{Directory, Full};
use crate::drain::driver::Crier;
use crate::drain::{Added, Flag, Reason};
use crate::session::handle::{Command, Handle, Inbox};

const INTERLEAVINGS: u64 = 10_000;
const COMERS: usize = 4;

/// What happened, in its order.
#[derive(Debug)]
enum Event {
    /// A session was registered, and whether that made it a straggler.
    Added(SessionId, bool),
    Ended(SessionId),
    /// A drain began, and was going to tell these.
    Begun(Vec<SessionId>),
    Cancelled,
}

/// How often something happened that makes the race one.
#[derive(Default, Debug)]
struct Seen {
    in_snapshot: usize,
    stragglers: usize,
    turned_away: usize,
    cancelled: usize,
    drained_again: usize,
}

/// How a session is registered. Production has one way.
type Add = fn(&Directory, &Arc<Handle>) -> Result<(), Full>;

/// One schedule, and what was wrong after it.
fn play(sessions: &Sessions, seed: u64, add: Add, seen: &mut Seen) -> Result<(), String> {
    let directory = sessions.directory();
    let events = Mutex::new(Vec::new());
    let here: Mutex<Vec<(Arc<Handle>, Inbox)>> = Mutex::default();
    let turned_away = Mutex::new(0);
    let mut crier = Crier::default();
    let mut actors: Vec<Actor<'_>> = Vec::new();
    for comer in 0..COMERS {
        let (directory, events, here, turned_away) = (&directory, &events, &here, &turned_away);
        let ends = StdRng::seed_from_u64(seed.rotate_left(32) ^ comer as u64).random_ratio(1, 4);
        actors.push(Box::new(move || {
            let Some(joining) = directory.begin_joining(COMERS) else {
                return *turned_away.lock().unwrap() += 1;
            };
            let (handle, inbox) = sessions.one(directory.next_session());
            add(directory, &handle).unwrap();
            // Nobody else has had a turn since.
            let straggler = *inbox.command.borrow() != Command::Serve;
            events.lock().unwrap().push(Event::Added(handle.id, straggler));
            drop(joining);
            if ends {
                directory.remove(&handle, Outcome::Left, &[], &[]);
                events.lock().unwrap().push(Event::Ended(handle.id));
            } else {
                here.lock().unwrap().push((handle, inbox));
            }
        }));
    }
    let (of_flag, its_events, its_crier) = (&directory, &events, &mut crier);
    actors.push(Box::new(move || follow_the_flag(seed, of_flag, its_crier, its_events)));
    turns::run(seed, actors);
    // What is left to tell is told, as the driver does between looks at the flag.
    crier.tell(usize::MAX);

    let events = events.into_inner().unwrap();
    seen.turned_away += turned_away.into_inner().unwrap();
    one_owner_each(&events, seen)?;
    let standing = directory.standing();
    let report = standing.report.filter(|report| !report.cancelled);
    if let Some(report) = report {
        let ended = report.moved + report.left + report.forced + report.silent;
        if report.at_flag + report.stragglers != report.remaining + ended {
            return Err(format!("the sum does not hold: {report:?}"));
        }
    }
    for (handle, inbox) in here.into_inner().unwrap() {
        let goes = *inbox.command.borrow() != Command::Serve;
        if goes != standing.draining {
            return Err(format!("{:?} was told the opposite of the flag", handle.id));
        }
    }
    Ok(())
}

/// Sets, changes and withdraws the flag, and tells a few between.
fn follow_the_flag(
    seed: u64,
    directory: &Directory,
    crier: &mut Crier,
    events: &Mutex<Vec<Event>>,
) {
    let mut random = StdRng::seed_from_u64(!seed);
    let mut drain = 0;
    let mut on = false;
    for _ in 0..random.random_range(1..6) {
        match random.random_range(0..4) {
            0 | 1 => {
                drain += 1;
                on = true;
                crier.obey(directory, Some(flag(drain)));
                let told = crier.to_tell().collect();
                events.lock().unwrap().push(Event::Begun(told));
            }
            2 if on => {
                on = false;
                crier.obey(directory, None);
                events.lock().unwrap().push(Event::Cancelled);
            }
            _ => crier.tell(1),
        }
        turns::pass();
    }
}

fn flag(drain: u32) -> Flag {
    Flag {
        id: drain.to_string(),
        grace_seconds: 3600,
        reason: Reason::Rollout,
        max_sessions_per_second: 0,
    }
}

/// Whether each session that was there in a drain was claimed once: by the snapshot, or when it was registered.
fn one_owner_each(events: &[Event], seen: &mut Seen) -> Result<(), String> {
    let mut here = BTreeSet::new();
    let mut claims: Option<BTreeMap<SessionId, usize>> = None;
    let mut drains = 0;
    for event in events {
        match event {
            Event::Added(session, straggler) => {
                here.insert(*session);
                seen.stragglers += usize::from(*straggler);
                match &mut claims {
                    Some(claims) => *claims.entry(*session).or_default() += usize::from(*straggler),
                    None if *straggler => {
                        return Err(format!("{session:?} goes, and nobody drains"));
                    }
                    None => {}
                }
            }
            Event::Ended(session) => {
                here.remove(session);
            }
            Event::Begun(told) => {
                drains += 1;
                seen.drained_again += usize::from(drains > 1);
                seen.in_snapshot += told.len();
                let mut claimed = BTreeMap::new();
                told.iter().for_each(|session| *claimed.entry(*session).or_default() += 1);
                claims = Some(claimed);
            }
            Event::Cancelled => {
                seen.cancelled += 1;
                claims = None;
            }
        }
        let Some(claims) = &claims else { continue };
        for session in &here {
            match claims.get(session) {
                Some(1) => {}
                count => {
                    let owners = count.copied().unwrap_or_default();
                    return Err(format!("{session:?} has {owners} owners after {events:?}"));
                }
            }
        }
    }
    Ok(())
}

#[test]
fn ten_thousand_interleavings_of_add_session_begin_shutdown_and_cancel_give_each_session_one_owner()
{
    let sessions = Sessions::new();
    let mut seen = Seen::default();
    for seed in 0..INTERLEAVINGS {
        if let Err(wrong) = play(&sessions, seed, Directory::add, &mut seen) {
            panic!("schedule {seed}: {wrong}");
        }
    }
    let Seen { in_snapshot, stragglers, turned_away, cancelled, drained_again } = seen;
    let counts = [in_snapshot, stragglers, turned_away, cancelled, drained_again];
    assert!(counts.iter().all(|count| *count > 1000), "the race was none: {seen:?}");
}

/// Registration as it must not be: the flag is read first, the session is put in later.
fn flag_first(directory: &Directory, handle: &Arc<Handle>) -> Result<(), Full> {
    let draining = directory.lock().drain.is_on();
    put_in(directory, handle);
    if draining {
        claim(directory, handle);
    }
    Ok(())
}

/// The same the other way round.
fn flag_last(directory: &Directory, handle: &Arc<Handle>) -> Result<(), Full> {
    put_in(directory, handle);
    claim(directory, handle);
    Ok(())
}

fn put_in(directory: &Directory, handle: &Arc<Handle>) {
    directory.lock().sessions.insert(handle.id, handle.clone());
}

fn claim(directory: &Directory, handle: &Arc<Handle>) {
    let now = Instant::now();
    if let Added::Straggler(slot) = directory.lock().drain.session_added(handle.id, now) {
        handle.command(Command::go(slot, now));
    }
}

#[test]
fn negative_control_a_flag_read_outside_the_lock_gives_a_session_two_owners_or_none() {
    let sessions = Sessions::new();
    for (add, expected) in [(flag_first as Add, "has 0 owners"), (flag_last, "has 2 owners")] {
        let found = (0..INTERLEAVINGS)
            .filter_map(|seed| play(&sessions, seed, add, &mut Seen::default()).err())
            .find(|wrong| wrong.contains(expected));
        assert!(found.is_some(), "no schedule shows that a session {expected}");
    }
}
