//! Path migration as the relay sees it: has the client's address changed, does it answer there, and how did that end?
//!
//! QUIC stacks follow a client to a new address by themselves (RFC 9000 section 9.3), tell nobody, and go back silently when the
//! new path turns out to be dead. So a path counts as valid only when something came back over it that was asked for *while the
//! relay still saw that address*.
//!
//! There are two kinds of attempts. Those that the client *announces* have a number, by PATH_CONFIRM and PATH_REPORT: their end is
//! what the client says, so both ends count the same, but no attempt succeeds that the relay has not validated. All others are
//! *rebindings*: a NAT in between that forgot, or a client that says nothing. Their end is what the relay sees.
//!
//! An attempt is a change of address until it is confirmed or [`DEADLINE`] is over; addresses that flap meanwhile are part of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::report::PathReport;
use crate::class::FailureClass;

/// An attempt that is not confirmed by then has failed.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Echoes are repeated at least this far apart.
const MIN_INTERVAL: Duration = Duration::from_millis(50);

/// A path that has left so many echoes unanswered over so long a time does not work, however its session ends.
const DEAD: (u32, Duration) = (3, Duration::from_secs(1));

/// Announced attempts that may be open at a time: clients make one after the other, but what they say of one may come later than
/// the next one.
const MAX_OPEN: usize = 8;

/// Where a client is, as long as it is there without a break.
///
/// A QUIC stack that goes back to the old path because the new one did not answer comes again with the client's next packet. What
/// was asked for before it went back may have left over the old path, and so proves nothing of the new one. Whenever it comes to
/// a path that it has not validated it sends PATH_CHALLENGE (RFC 9000 section 8.2.1): where no more of these were sent it has not
/// been elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The client's address.
    pub address: SocketAddr,
    /// How many PATH_CHALLENGE frames the connection had sent by then.
    pub challenges: u64,
}

/// Who began a migration.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// The client, which said so.
    Path,
    /// Something between it and the relay, or a client that says nothing.
    Rebind,
}

impl Kind {
    /// Its stable name, which is a label of metrics too.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Rebind => "rebind",
        }
    }
}

/// An attempt that came to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended {
    /// Who began it.
    pub kind: Kind,
    /// Why it failed; `None` = it did not.
    pub failed: Option<FailureClass>,
    /// From the first packet over the new path. Of one that never came here: as the client says.
    pub took: Duration,
}

/// The answer to PATH_CONFIRM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// ECHO with this nonce.
    Ask([u8; 8]),
    /// PATH_CONFIRMED: the path is valid.
    Confirmed,
    /// It is about an attempt that is over.
    Nothing,
}

/// See the [module](self).
#[derive(Debug)]
pub struct PathWatch {
    /// The last address of which nothing is left to find out.
    settled: SocketAddr,
    /// In a box: nearly always there is none, and ten thousand sessions have room for it.
    pending: Option<Box<Pending>>,
    /// Announced attempts without an end, by their numbers.
    open: BTreeMap<u64, Announced>,
    /// The highest number that was heard of.
    highest: u64,
    /// What nonces are made of: nobody who has seen some knows the next one.
    seed: u64,
    nonces: u64,
    ended: Vec<Ended>,
}

/// The address that is being looked at.
#[derive(Debug)]
struct Pending {
    place: Place,
    since: Instant,
    nonce: [u8; 8],
    echo_at: Instant,
    /// How often the nonce was asked for, at any address.
    asked: u32,
    attempt: Option<u64>,
}

/// What is known of an announced attempt.
#[derive(Clone, Copy, Debug)]
enum Announced {
    /// Only that there must have been one: a later one was heard of.
    Unseen,
    /// It was seen at this time, and is not valid yet.
    Seen(Instant),
    /// It was seen at this time, and became valid so much later.
    Valid(Instant, Duration),
}

impl PathWatch {
    /// A session whose client is at `address`. `seed` is random, so that nobody can answer an echo that it has not seen.
    #[must_use]
    pub const fn new(address: SocketAddr, seed: u64) -> Self {
        Self {
            settled: address,
            pending: None,
            open: BTreeMap::new(),
            highest: 0,
            seed,
            nonces: 0,
            ended: Vec::new(),
        }
    }

    /// The client is at `place` now. Gives the nonce of an echo to send.
    pub fn tick(&mut self, place: Place, rtt: Duration, now: Instant) -> Option<[u8; 8]> {
        let address = place.address;
        self.expire(address, now);
        match &self.pending {
            None if address == self.settled => return None,
            None => self.look_at(place, now, None),
            // It moved on before it answered: the attempt goes on at the newer place.
            Some(pending) if place != pending.place && address != self.settled => {
                self.moved_on(place, now);
            }
            Some(_) => {}
        }
        let pending = self.pending.as_mut()?;
        (pending.echo_at <= now && place == pending.place).then(|| pending.ask(rtt, now))
    }

    /// Whether nothing was heard yet of the attempt with this number.
    #[must_use]
    pub const fn is_news(&self, attempt: u64) -> bool {
        attempt > self.highest
    }

    /// Whether packets of the attempt with this number were seen, and it has no end yet.
    #[must_use]
    pub fn has_seen(&self, attempt: u64) -> bool {
        matches!(self.open.get(&attempt), Some(Announced::Seen(_) | Announced::Valid(..)))
    }

    /// PATH_CONFIRM came, and the client is at `place`.
    pub fn confirm(
        &mut self,
        attempt: u64,
        nonce: [u8; 8],
        place: Place,
        rtt: Duration,
        now: Instant,
    ) -> Answer {
        if attempt > self.highest {
            self.heard_of(attempt, now);
            self.begin(attempt, place, now);
        }
        if let Some(Announced::Valid(..)) = self.open.get(&attempt) {
            return Answer::Confirmed;
        }
        if self.pending.as_ref().is_none_or(|pending| pending.attempt != Some(attempt)) {
            return Answer::Nothing;
        }
        if self.pending.as_ref().is_some_and(|pending| pending.place != place) {
            self.moved_on(place, now);
        }
        if self.validated(nonce, place, now) {
            return Answer::Confirmed;
        }
        match &mut self.pending {
            Some(pending) => Answer::Ask(pending.ask(rtt, now)),
            None => Answer::Nothing,
        }
    }

    /// ECHO_REPLY came, and the client is at `place`.
    pub fn answered(&mut self, nonce: [u8; 8], place: Place, now: Instant) {
        self.validated(nonce, place, now);
    }

    /// PATH_REPORT came, and the client's address is `address`.
    pub fn report(&mut self, report: PathReport, address: SocketAddr, now: Instant) {
        let PathReport { attempt, failed, took } = report;
        if attempt > self.highest {
            self.heard_of(attempt, now);
        }
        let Some(known) = self.open.remove(&attempt) else { return };
        if self.pending.take_if(|pending| pending.attempt == Some(attempt)).is_some() {
            // Where it is now it was before, or it failed to go from there.
            self.settled = address;
        }
        match (failed, known) {
            (Some(_), Announced::Unseen) => self.end(Kind::Path, failed, took),
            // A success that the relay knows nothing of is none, and no failure either.
            (None, Announced::Unseen) => {}
            (None, Announced::Valid(_, took)) => self.end(Kind::Path, None, took),
            (None, Announced::Seen(since)) => {
                self.end(Kind::Path, Some(FailureClass::Other), now - since);
            }
            (Some(_), Announced::Seen(since) | Announced::Valid(since, _)) => {
                self.end(Kind::Path, failed, now.saturating_duration_since(since));
            }
        }
    }

    /// The session ended like this. Attempts that were under way have failed, unless they were valid.
    pub fn session_ended(&mut self, class: FailureClass, now: Instant) {
        if let Some(pending) = self.pending.take() {
            let took = now.saturating_duration_since(pending.since);
            let dead = pending.asked >= DEAD.0 && took >= DEAD.1;
            let class = if dead { FailureClass::ValidationTimeout } else { class };
            let kind = if pending.attempt.is_some() { Kind::Path } else { Kind::Rebind };
            self.end(kind, Some(class), took);
            pending.attempt.map(|attempt| self.open.remove(&attempt));
        }
        for (attempt, announced) in std::mem::take(&mut self.open) {
            self.end_unreported(attempt, announced, now);
        }
    }

    /// The next attempt that came to its end. Each does once.
    pub fn poll_ended(&mut self) -> Option<Ended> {
        if self.ended.is_empty() { None } else { Some(self.ended.remove(0)) }
    }

    /// Whether there is an address to ask at.
    #[must_use]
    pub const fn is_asking(&self) -> bool {
        self.pending.is_some()
    }

    /// When an attempt will have had its time, if nothing more is heard of it: [`tick`](Self::tick) ends it then. None while none
    /// is under way.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let pending = self.pending.iter().map(|pending| pending.since);
        let open = self.open.values().filter_map(Announced::since);
        pending.chain(open).min().map(|since| since + DEADLINE)
    }

    /// A number was heard for the first time. Those before it that were not heard of yet may be told of later.
    fn heard_of(&mut self, attempt: u64, now: Instant) {
        let first = (self.highest + 1).max(attempt.saturating_sub(MAX_OPEN as u64 - 1));
        for unseen in first..=attempt {
            self.open.insert(unseen, Announced::Unseen);
        }
        self.highest = attempt;
        while self.open.len() > MAX_OPEN {
            let Some((attempt, announced)) = self.open.pop_first() else { return };
            self.end_unreported(attempt, announced, now);
        }
    }

    /// The client announces an attempt, which is under way.
    fn begin(&mut self, attempt: u64, place: Place, now: Instant) {
        let since = match &mut self.pending {
            // Its first packet came before it said what it is. If that was somewhere else it has all of its time from now on.
            Some(pending) if pending.attempt.is_none() => {
                pending.attempt = Some(attempt);
                if pending.place.address != place.address {
                    pending.since = now;
                }
                pending.since
            }
            _ => {
                self.look_at(place, now, Some(attempt));
                now
            }
        };
        self.open.insert(attempt, Announced::Seen(since));
    }

    fn look_at(&mut self, place: Place, now: Instant, attempt: Option<u64>) {
        let nonce = self.next_nonce();
        let (since, echo_at, asked) = (now, now, 0);
        self.pending = Some(Box::new(Pending { place, since, nonce, echo_at, asked, attempt }));
    }

    /// What was asked at the older place proves nothing of the newer one.
    fn moved_on(&mut self, place: Place, now: Instant) {
        let nonce = self.next_nonce();
        if let Some(pending) = &mut self.pending {
            (pending.place, pending.nonce, pending.echo_at) = (place, nonce, now);
        }
    }

    /// Whether this nonce was asked for at this place. If so the path is valid.
    fn validated(&mut self, nonce: [u8; 8], place: Place, now: Instant) -> bool {
        let Some(pending) = self.pending.take_if(|pending| {
            pending.asked > 0 && pending.nonce == nonce && pending.place == place
        }) else {
            return false;
        };
        self.settled = place.address;
        let took = now.saturating_duration_since(pending.since);
        match pending.attempt {
            Some(attempt) => {
                self.open.insert(attempt, Announced::Valid(pending.since, took));
            }
            None => self.end(Kind::Rebind, None, took),
        }
        true
    }

    /// Ends what has had its time.
    fn expire(&mut self, address: SocketAddr, now: Instant) {
        let is_over = |since: Instant| now.saturating_duration_since(since) >= DEADLINE;
        if let Some(pending) = self.pending.take_if(|pending| is_over(pending.since)) {
            // QUIC goes back to the old path when the new one does not answer.
            let reverted = address == self.settled && address != pending.place.address;
            let class =
                if reverted { FailureClass::Reverted } else { FailureClass::ValidationTimeout };
            self.settled = address;
            pending.attempt.map(|attempt| self.open.remove(&attempt));
            let kind = if pending.attempt.is_some() { Kind::Path } else { Kind::Rebind };
            self.end(kind, Some(class), now.saturating_duration_since(pending.since));
        }
        let old = |announced: &Announced| announced.since().is_some_and(is_over);
        let over: Vec<_> =
            self.open.iter().filter(|(_, announced)| old(announced)).map(|(n, _)| *n).collect();
        for attempt in over {
            if let Some(announced) = self.open.remove(&attempt) {
                self.end_unreported(attempt, announced, now);
            }
        }
    }

    /// The client never said how an attempt ended: what the relay saw decides.
    fn end_unreported(&mut self, attempt: u64, announced: Announced, now: Instant) {
        self.pending.take_if(|pending| pending.attempt == Some(attempt));
        match announced {
            Announced::Unseen => {}
            Announced::Valid(_, took) => self.end(Kind::Path, None, took),
            Announced::Seen(since) => {
                let took = now.saturating_duration_since(since);
                self.end(Kind::Path, Some(FailureClass::ValidationTimeout), took);
            }
        }
    }

    fn end(&mut self, kind: Kind, failed: Option<FailureClass>, took: Duration) {
        self.ended.push(Ended { kind, failed, took });
    }

    fn next_nonce(&mut self) -> [u8; 8] {
        self.nonces += 1;
        let hash = Sha256::new()
            .chain_update(self.seed.to_be_bytes())
            .chain_update(self.nonces.to_be_bytes())
            .finalize();
        std::array::from_fn(|index| hash[index])
    }
}

impl Announced {
    /// When it was seen, if it was.
    const fn since(&self) -> Option<Instant> {
        match self {
            Self::Unseen => None,
            Self::Seen(since) | Self::Valid(since, _) => Some(*since),
        }
    }
}

impl Pending {
    fn ask(&mut self, rtt: Duration, now: Instant) -> [u8; 8] {
        self.echo_at = now + rtt.max(MIN_INTERVAL);
        self.asked = self.asked.saturating_add(1);
        self.nonce
    }
}

#[cfg(test)]
mod tests;
