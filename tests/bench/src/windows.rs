//! Interleaved windows: each relay in turn carries the same load for a moment, over and over, and what else happens on the
//! machine happens to all of them.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::link::{Link, now};
use crate::process;
use crate::stats::median;

/// Before a window, so that it begins in the middle of the load.
const WARM: Duration = Duration::from_millis(150);

/// After a window, so that what is left of it is not found in the next.
const CALM: Duration = Duration::from_millis(50);

/// How datagrams are offered.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Load {
    /// Over four links, twenty at a time, each millisecond: batches are full.
    Bulk,
    /// Over a hundred links, 500 datagrams per second each, of which five have their turn each 100 us.
    Sparse,
    /// Over forty links in turn, one each 100 us: each datagram is alone at the relay, which sleeps before and after it.
    Lone,
    /// Over one link, one each 2 ms, with the time at which it was sent.
    Light,
}

/// What the clients' threads do while nothing comes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Clients {
    /// They sleep, as anybody's do: whoever sends to them on the same machine pays for it that they wake.
    Asleep,
    /// The only one looks again and again, and no relay has to wake it. It acknowledges sooner, too.
    Awake,
}

/// A relay under comparison, and the links through it.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    /// Of the relay's process; none if there is no relay.
    pub(crate) pid: Option<u32>,
    pub(crate) links: Arc<Vec<Link>>,
}

/// What one window showed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// CPU time of the relay for each datagram that arrived, in microseconds.
    pub(crate) cost: f64,
    /// From sender to receiver, in microseconds: the median. Only under [`Load::Light`].
    pub(crate) delay: f64,
    /// How many arrived per second.
    pub(crate) rate: f64,
}

/// Windows of each subject, in the order of the subjects: as many of each as there are rounds.
pub(crate) async fn interleave(
    subjects: &[&Subject],
    (load, clients): (Load, Clients),
    rounds: usize,
    length: Duration,
) -> anyhow::Result<Vec<Vec<Window>>> {
    let mut all = vec![Vec::with_capacity(rounds); subjects.len()];
    for round in 0..rounds {
        for which in order(round, subjects.len()) {
            all[which].push(window(subjects[which], (load, clients), length).await?);
        }
    }
    Ok(all)
}

/// In which order subjects have their windows in a round. Each is as often first as any other, and as often after one as after another:
/// what the one before leaves behind, warm or cold, is nobody's advantage.
fn order(round: usize, subjects: usize) -> impl Iterator<Item = usize> {
    let first = round / 2;
    (0..subjects).map(move |turn| match round % 2 {
        0 => (first + turn) % subjects,
        _ => (first + subjects - turn) % subjects,
    })
}

async fn window(
    subject: &Subject,
    (load, clients): (Load, Clients),
    length: Duration,
) -> anyhow::Result<Window> {
    let stop = Arc::new(AtomicBool::new(false));
    let (links, stopped) = (subject.links.clone(), stop.clone());
    let offering = match clients {
        Clients::Asleep => tokio::task::spawn_blocking(move || offer(&links, load, &stopped)),
        Clients::Awake => tokio::spawn(async move { offer_awake(&links, load, &stopped).await }),
    };
    tokio::time::sleep(WARM).await;
    let seen = || subject.links.iter().map(|link| link.seen.count()).sum::<u64>();
    let used = || subject.pid.map_or(Ok(Duration::ZERO), process::cpu);
    subject.links.iter().for_each(|link| drop(link.seen.take_delays()));
    let (used_before, seen_before) = (used()?, seen());
    tokio::time::sleep(length).await;
    let (used_after, seen_after) = (used()?, seen());
    stop.store(true, Ordering::Relaxed);
    offering.await?;
    tokio::time::sleep(CALM).await;
    let count = (seen_after - seen_before) as f64;
    if count < 10.0 {
        bail!("{}: only {count} datagrams arrived within {length:?} of {load:?}", subject.name);
    }
    let delays: Vec<_> = subject
        .links
        .iter()
        .flat_map(|link| link.seen.take_delays())
        .map(|ns| ns as f64 / 1e3)
        .collect();
    Ok(Window {
        cost: used_after.saturating_sub(used_before).as_secs_f64() * 1e6 / count,
        delay: median(&delays).unwrap_or_default(),
        rate: count / length.as_secs_f64(),
    })
}

impl Load {
    /// From one time to the next.
    const fn pause(self) -> Duration {
        match self {
            Self::Bulk => Duration::from_millis(1),
            Self::Sparse | Self::Lone => Duration::from_micros(100),
            Self::Light => Duration::from_millis(2),
        }
    }

    /// Over which links.
    fn over(self, links: &[Link]) -> &[Link] {
        let count = match self {
            Self::Bulk => 4,
            Self::Sparse => 100,
            Self::Lone => 40,
            Self::Light => 1,
        };
        &links[..count.min(links.len())]
    }

    /// How many of them have their turn at a time.
    const fn at_once(self) -> usize {
        match self {
            Self::Bulk => 4,
            Self::Sparse => 5,
            Self::Lone | Self::Light => 1,
        }
    }

    /// What each of those is offered whose turn it is.
    fn offer(self, turn: &[Link]) {
        turn.iter().for_each(|link| match self {
            Self::Bulk => link.send(20, 0),
            Self::Sparse | Self::Lone => link.send(1, 0),
            Self::Light => link.send(1, now()),
        });
    }

    /// Whose turn it is, time after time.
    fn turns(self, links: &[Link]) -> impl Iterator<Item = &[Link]> {
        self.over(links).chunks(self.at_once()).cycle()
    }
}

/// Offers datagrams until `stop`. A thread that sleeps, because timers of the runtime know milliseconds only.
fn offer(links: &[Link], load: Load, stop: &AtomicBool) {
    // The kernel would wake it up 50 us late, to wake others at the same time. If it must be so, less is offered.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let mut next = Instant::now();
    for turn in load.turns(links).take_while(|_| !stop.load(Ordering::Relaxed)) {
        load.offer(turn);
        // What it is late for is not made up: nothing is offered in a burst that should not be.
        next = Instant::now().max(next + load.pause());
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// The same on the clients' thread, which it keeps awake.
async fn offer_awake(links: &[Link], load: Load, stop: &AtomicBool) {
    for turn in load.turns(links).take_while(|_| !stop.load(Ordering::Relaxed)) {
        let next = Instant::now() + load.pause();
        load.offer(turn);
        while Instant::now() < next {
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_a_better_place_than_the_others() {
        for subjects in [3, 4] {
            let orders: Vec<Vec<_>> =
                (0..2 * subjects).map(|round| order(round, subjects).collect()).collect();
            for one in 0..subjects {
                let first = orders.iter().filter(|order| order[0] == one).count();
                assert_eq!(first, 2, "{one} of {subjects}");
                let after = |other| {
                    let follows = |order: &&Vec<usize>| order.windows(2).any(|w| w == [other, one]);
                    orders.iter().filter(follows).count()
                };
                let [next, before] = [(one + 1) % subjects, (one + subjects - 1) % subjects];
                assert_eq!(after(next), after(before), "{one} of {subjects}");
            }
        }
    }
}
