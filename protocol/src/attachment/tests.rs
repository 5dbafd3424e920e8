#![expect(clippy::disallowed_methods, reason = "a test starts somewhere; only differences matter")]

mod fates;
mod goaway;
mod reclaim;

use std::time::Duration;

use super::*;
use crate::frame::{GoAwayReason, RefusalCode, Renewed};
use crate::id::SessionId;

const OLD: RelayId = RelayId::from_u32(1);
const NEW: RelayId = RelayId::from_u32(2);

fn welcome(relay: RelayId, stamp: u64) -> Welcome {
    Welcome {
        session: SessionId::from_u64(1),
        relay,
        epoch: 0,
        stamp: Stamp::from_u64(stamp),
        observed: "192.0.2.1:1".parse().unwrap(),
        max_datagram: 1200,
        max_routes: 1,
        max_watches: 1,
        idle: Duration::from_secs(60),
        keep_alive: Duration::from_secs(12),
        ticket: Bytes::from(format!("ticket {stamp}")),
        route_ids: vec![],
    }
}

fn goaway(sequence: u64, after: Duration) -> Frame {
    Frame::GoAway(Box::new(GoAway {
        sequence,
        reason: GoAwayReason::Rollout,
        deadline: Duration::from_secs(60),
        reconnect_after: after,
        route_ids: vec![],
        ticket: Bytes::from_static(b"of goaway"),
    }))
}

fn refused(code: RefusalCode, retry: Retry) -> Refused {
    Refused { code, retry, message: String::new() }
}

/// An attachment and its clock. What it wants is written down in words.
struct Client {
    attachment: Attachment,
    now: Instant,
}

impl Client {
    fn new() -> Self {
        let now = Instant::now();
        Self { attachment: Attachment::new(Timing::default(), 1, now), now }
    }

    /// A client that is attached to [`OLD`] by connection 0.
    fn attached() -> Self {
        let mut client = Self::new();
        assert_eq!(client.said(), ["dial 0 fresh"]);
        client.attachment.handle_welcome(Slot(0), &welcome(OLD, 1), client.now);
        assert_eq!(client.said(), ["use 0", "attached 00000001"]);
        client.pass(Duration::from_secs(60));
        client
    }

    /// A client in the middle of a move: connection 1 is dialed.
    fn moving() -> Self {
        let mut client = Self::attached();
        client.frame(0, goaway(1, Duration::ZERO));
        assert_eq!(
            client.said(),
            ["send 0 GOAWAY_ACK", "must move", "dial 1 handover with of goaway"]
        );
        client
    }

    fn frame(&mut self, slot: u64, frame: Frame) {
        self.attachment.handle_frame(Slot(slot), frame, self.now);
    }

    fn closed(&mut self, slot: u64, how: Closed) {
        self.attachment.handle_closed(Slot(slot), how, self.now);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.attachment.handle_timeout(self.now);
    }

    /// Lets time pass until the next timer.
    fn wait(&mut self) -> Duration {
        let until = self.attachment.poll_timeout().expect("a timer");
        let waited = until.saturating_duration_since(self.now);
        self.pass(waited);
        waited
    }

    fn said(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.attachment.poll_output()).map(|output| words(&output)).collect()
    }
}

fn words(output: &Output) -> String {
    match output {
        Output::Dial { slot, intent, ticket, .. } => {
            let with =
                ticket.as_ref().map(|ticket| format!(" with {}", String::from_utf8_lossy(ticket)));
            format!("dial {} {}{}", slot.0, intent.name(), with.unwrap_or_default())
        }
        Output::Send { slot, frame } => format!("send {} {}", slot.0, frame.name()),
        Output::Use { slot } => format!("use {}", slot.0),
        Output::Close { slot, code } => format!("close {} {}", slot.0, code.name()),
        Output::Event(event) => match event {
            Event::Attached { relay, .. } => format!("attached {relay}"),
            Event::MustMove { .. } => "must move".into(),
            Event::MayStay => "may stay".into(),
            Event::HandedOver { from, to, .. } => format!("handed over {from} {to}"),
            Event::Reclaimed { relay, .. } => format!("reclaimed {relay}"),
            Event::Resumed { relay, .. } => format!("resumed {relay}"),
            Event::Failed { intent, class, .. } => format!("{} failed {class}", intent.name()),
            Event::Lost { .. } => "lost".into(),
            Event::Ended(why) => {
                format!("ended {}", format!("{why:?}").split('(').next().unwrap_or_default())
            }
        },
    }
}

#[test]
fn a_handover_makes_before_it_breaks() {
    let mut client = Client::moving();
    client.attachment.handle_welcome(Slot(1), &welcome(NEW, 2), client.now);
    assert_eq!(client.said(), ["send 1 ACTIVE"]);
    client.frame(1, Frame::ActiveOk { stamp: Stamp::from_u64(2) });
    assert_eq!(client.said(), ["use 1", "send 0 MOVED", "handed over 00000001 00000002"]);
    client.frame(0, Frame::MovedOk);
    assert_eq!(client.said(), [] as [&str; 0], "both are read for a while");
    assert_eq!(client.wait(), Timing::default().linger);
    assert_eq!(client.said(), ["close 0 moved"]);
    assert_eq!(client.attachment.poll_timeout(), None);
}

#[test]
fn the_slot_of_goaway_is_kept() {
    let mut client = Client::attached();
    client.frame(0, goaway(1, Duration::from_secs(7)));
    assert_eq!(client.said(), ["send 0 GOAWAY_ACK", "must move"]);
    assert_eq!(client.wait(), Duration::from_secs(7));
    assert_eq!(client.said(), ["dial 1 handover with of goaway"]);
}

#[test]
fn a_move_may_be_held_back_for_longer_than_its_slot() {
    let mut client = Client::attached();
    client.attachment.timing.move_delay = Duration::from_secs(20);
    client.frame(0, goaway(1, Duration::from_secs(7)));
    assert_eq!(client.said(), ["send 0 GOAWAY_ACK", "must move"], "it is acknowledged at once");
    assert_eq!(client.wait(), Duration::from_secs(27));
    assert_eq!(client.said(), ["dial 1 handover with of goaway"]);
}

#[test]
fn a_new_session_that_fails_costs_nothing_and_is_tried_again() {
    let mut client = Client::moving();
    client.attachment.handle_welcome(Slot(1), &welcome(NEW, 2), client.now);
    client.said();
    client.closed(1, Closed::Lost(FailureClass::IdleTimeout));
    assert_eq!(client.said(), ["handover failed idle_timeout"]);
    assert_eq!(client.attachment.home(), Some(Slot(0)));
    client.wait();
    assert_eq!(client.said(), ["dial 2 handover with ticket 2"]);
}

#[test]
fn a_dial_that_hangs_is_given_up() {
    let mut client = Client::moving();
    assert_eq!(client.wait(), Timing::default().dial);
    assert_eq!(client.said(), ["close 1 done", "handover failed handshake_timeout"]);
    assert!(client.wait() <= Timing::default().backoff);
    assert_eq!(client.said(), ["dial 2 handover with of goaway"]);
}

#[test]
fn turned_away_means_another_port_at_once_eight_times_then_a_pause() {
    let mut client = Client::moving();
    for slot in 1..=8 {
        client.attachment.handle_dial_failure(Slot(slot), DialFailure::TurnedAway, client.now);
        assert_eq!(client.said(), [format!("dial {} handover with of goaway", slot + 1)]);
    }
    client.attachment.handle_dial_failure(Slot(9), DialFailure::TurnedAway, client.now);
    assert_eq!(client.said(), ["handover failed refused"]);
    assert!(client.wait() >= Timing::default().backoff / 2);
    assert_eq!(client.said(), ["dial 10 handover with of goaway"]);
}

#[test]
fn a_lost_session_is_resumed_with_its_ticket() {
    let mut client = Client::attached();
    client.closed(0, Closed::Lost(FailureClass::IdleTimeout));
    assert_eq!(client.said(), ["lost", "dial 1 resume with ticket 1"]);
    client.attachment.handle_welcome(Slot(1), &welcome(NEW, 2), client.now);
    assert_eq!(client.said(), ["use 1", "resumed 00000002"]);
}

#[test]
fn a_renewed_session_goes_on_with_its_new_ticket() {
    let renewed = |ticket: &'static [u8]| {
        Frame::Renewed(Renewed { expires_unix: 1, ticket: Bytes::from_static(ticket) })
    };
    let mut client = Client::moving();
    client.attachment.handle_welcome(Slot(1), &welcome(NEW, 2), client.now);
    client.frame(0, renewed(b"of renewal"));
    client.frame(1, renewed(b"of a standby, which nobody asked"));
    client.said();
    client.closed(1, Closed::Lost(FailureClass::IdleTimeout));
    client.closed(0, Closed::Lost(FailureClass::IdleTimeout));
    assert_eq!(client.said().last().unwrap(), "dial 2 resume with of renewal");
}

#[test]
fn a_suspect_session_is_kept_until_another_serves() {
    let mut client = Client::attached();
    client.attachment.handle_suspect(Slot(0), client.now);
    assert_eq!(client.said(), ["dial 1 resume with ticket 1"]);
    assert_eq!(client.attachment.home(), Some(Slot(0)));
    client.attachment.handle_welcome(Slot(1), &welcome(NEW, 2), client.now);
    assert_eq!(client.said(), ["use 1", "close 0 moved", "resumed 00000002"]);
}

#[test]
fn a_suspect_that_is_heard_again_needs_no_other() {
    let mut client = Client::attached();
    client.attachment.handle_suspect(Slot(0), client.now);
    client.said();
    client.attachment.handle_heard(Slot(0));
    assert_eq!(client.said(), ["close 1 done"]);
    assert_eq!(client.attachment.poll_timeout(), None);
}

#[test]
fn the_old_session_may_be_lost_at_any_point_of_a_handover() {
    let mut dialing = Client::moving();
    dialing.closed(0, Closed::ByRelay(CloseCode::GoawayTimeout));
    assert_eq!(dialing.said(), ["lost"], "the dial goes on");
    dialing.attachment.handle_welcome(Slot(1), &welcome(NEW, 2), dialing.now);
    dialing.frame(1, Frame::ActiveOk { stamp: Stamp::from_u64(2) });
    assert_eq!(dialing.said(), ["send 1 ACTIVE", "use 1", "resumed 00000002"]);

    let mut lingering = Client::moving();
    lingering.attachment.handle_welcome(Slot(1), &welcome(NEW, 2), lingering.now);
    lingering.frame(1, Frame::ActiveOk { stamp: Stamp::from_u64(2) });
    lingering.said();
    lingering.closed(0, Closed::ByRelay(CloseCode::GoawayTimeout));
    assert_eq!(lingering.said(), [] as [&str; 0]);
    assert_eq!(lingering.attachment.home(), Some(Slot(1)));
}

#[test]
fn a_ticket_that_is_refused_is_replaced_by_the_token() {
    let mut client = Client::attached();
    client.closed(0, Closed::Lost(FailureClass::StatelessReset));
    client.said();
    client.attachment.handle_refused(
        Slot(1),
        refused(RefusalCode::TicketInvalid, Retry::Fresh),
        client.now,
    );
    assert_eq!(client.said(), ["close 1 done", "resume failed refused"]);
    client.wait();
    assert_eq!(client.said(), ["dial 2 fresh"]);
}

#[test]
fn pauses_double_up_to_their_limit_and_are_spread() {
    let mut client = Client::new();
    let mut pauses = Vec::new();
    for slot in 0..12 {
        client.said();
        client.attachment.handle_dial_failure(
            Slot(slot),
            DialFailure::Failed(FailureClass::Other),
            client.now,
        );
        pauses.push(client.wait());
    }
    let timing = Timing::default();
    for (n, pause) in pauses.iter().enumerate() {
        let whole = (timing.backoff * 2_u32.pow(n as u32)).min(timing.max_backoff);
        assert!(*pause >= whole / 2 && *pause <= whole, "pause {n}: {pause:?} of {whole:?}");
    }
}

#[test]
fn what_ends_it_for_good() {
    let check = |mut client: Client, act: fn(&mut Client), said: &[&str]| {
        act(&mut client);
        assert_eq!(client.said(), said);
        assert_eq!(client.attachment.poll_timeout(), None);
        client.pass(Duration::from_secs(3600));
        assert_eq!(client.said(), [] as [&str; 0]);
    };
    check(
        Client::attached(),
        |client| client.closed(0, Closed::ByRelay(CloseCode::Superseded)),
        &["close 0 superseded", "ended Superseded"],
    );
    check(
        Client::moving(),
        |client| client.attachment.close_all(),
        &["close 0 done", "close 1 done", "ended ByOwner"],
    );
    check(
        Client::attached(),
        |client| client.closed(0, Closed::ByRelay(CloseCode::Closing)),
        &["lost", "ended Closing"],
    );
    let closing = |client: &mut Client| {
        let Frame::GoAway(mut goaway) = goaway(1, Duration::ZERO) else { unreachable!() };
        goaway.reason = GoAwayReason::Closing;
        client.frame(0, Frame::GoAway(goaway));
    };
    check(
        Client::attached(),
        closing,
        &["send 0 GOAWAY_ACK", "must move", "close 0 done", "ended Closing"],
    );
    let never = |client: &mut Client| {
        client.said();
        client.attachment.handle_refused(
            Slot(0),
            refused(RefusalCode::TokenInvalid, Retry::Never),
            client.now,
        );
    };
    check(Client::new(), never, &["close 0 done", "ended Refused"]);
}

#[test]
fn a_refused_handover_does_not_end_a_session_that_serves() {
    let mut client = Client::moving();
    client.attachment.handle_refused(
        Slot(1),
        refused(RefusalCode::TokenInvalid, Retry::Never),
        client.now,
    );
    assert_eq!(client.said(), ["close 1 done", "handover failed refused"]);
    assert_eq!(client.attachment.home(), Some(Slot(0)));
}

/// The pauses of a client whose homes end like that, each so long after its WELCOME.
fn pauses(how: Closed, lived: Duration) -> Vec<Duration> {
    let mut client = Client::attached();
    let mut slot = 0;
    let pauses = (0..6).map(|_| {
        client.closed(slot, how);
        let due = client.attachment.poll_timeout().expect("a timer");
        let before = client.now;
        let mut said = client.said();
        let mut pause = Duration::ZERO;
        if !said.iter().any(|said| said.starts_with("dial")) {
            client.pass(due.saturating_duration_since(before));
            pause = client.now - before;
            said = client.said();
        }
        assert!(said.iter().any(|said| said.starts_with("dial")), "{said:?}");
        slot += 1;
        client.attachment.handle_welcome(Slot(slot), &welcome(OLD, slot), client.now);
        client.said();
        client.pass(lived);
        pause
    });
    pauses.collect()
}

#[test]
fn homes_that_end_soon_after_they_began_are_no_success() {
    use CloseCode::{LimitExceeded, ProtocolViolation, Shutdown};
    let (soon, later) = (Duration::from_secs(1), Duration::from_secs(60));
    let lost = Closed::Lost(FailureClass::IdleTimeout);
    for how in [lost, Closed::ByRelay(Shutdown)] {
        assert!(pauses(how, later).iter().all(Duration::is_zero), "{how:?} is resumed at once");
        let pauses = pauses(how, soon);
        assert!(pauses[0].is_zero() && pauses[1].is_zero(), "{how:?}: {pauses:?}");
        assert!(pauses[5] >= Duration::from_millis(400), "{how:?}: {pauses:?}");
    }
    for how in [ProtocolViolation, LimitExceeded].map(Closed::ByRelay) {
        assert!(pauses(how, later).iter().all(|pause| !pause.is_zero()), "{how:?}");
        assert!(pauses(how, soon)[5] >= Duration::from_millis(800), "{how:?}");
    }
}

#[test]
fn an_expired_token_ends_its_ticket_too() {
    let mut client = Client::attached();
    client.closed(0, Closed::ByRelay(CloseCode::TokenExpired));
    assert!(client.said().contains(&"dial 1 fresh".to_owned()));
}
