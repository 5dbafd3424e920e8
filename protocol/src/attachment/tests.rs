#![expect(clippy::disallowed_methods, reason = "a test starts somewhere; only differences matter")]

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

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
fn a_withdrawn_goaway_ends_what_has_not_begun() {
    let mut client = Client::moving();
    client.frame(0, Frame::GoAwayCancel { sequence: 1 });
    assert_eq!(client.said(), ["close 1 moved", "may stay"]);
    assert_eq!(client.attachment.poll_timeout(), None);
    client.frame(0, goaway(2, Duration::ZERO));
    assert_eq!(
        client.said(),
        ["send 0 GOAWAY_ACK", "must move", "dial 2 handover with of goaway"],
        "and again"
    );
}

#[test]
fn a_handover_that_has_begun_is_completed_after_the_withdrawal() {
    let mut client = Client::moving();
    client.attachment.handle_welcome(Slot(1), &welcome(NEW, 2), client.now);
    client.frame(0, Frame::GoAwayCancel { sequence: 1 });
    assert_eq!(client.said(), ["send 1 ACTIVE", "may stay"]);
    client.frame(1, Frame::ActiveOk { stamp: Stamp::from_u64(2) });
    assert_eq!(client.said(), ["use 1", "send 0 MOVED", "handed over 00000001 00000002"]);
}

#[test]
fn a_goaway_on_the_standby_is_acknowledged_at_once_and_obeyed_when_it_is_home() {
    let mut client = Client::moving();
    client.attachment.handle_welcome(Slot(1), &welcome(NEW, 2), client.now);
    client.frame(1, goaway(1, Duration::ZERO));
    assert_eq!(client.said(), ["send 1 ACTIVE", "send 1 GOAWAY_ACK"]);
    client.frame(1, Frame::ActiveOk { stamp: Stamp::from_u64(2) });
    assert_eq!(
        client.said(),
        [
            "use 1",
            "send 0 MOVED",
            "handed over 00000001 00000002",
            "must move",
            "dial 2 handover with of goaway"
        ]
    );
}

#[test]
fn the_slot_of_a_goaway_on_the_standby_counts_from_when_it_came() {
    let mut client = Client::moving();
    client.attachment.handle_welcome(Slot(1), &welcome(NEW, 2), client.now);
    let came = client.now;
    client.frame(1, goaway(1, Duration::from_secs(7)));
    client.pass(Duration::from_secs(2));
    client.frame(1, Frame::ActiveOk { stamp: Stamp::from_u64(2) });
    client.frame(0, Frame::MovedOk);
    client.pass(Duration::from_secs(2));
    client.said();
    assert_eq!(client.attachment.poll_timeout(), Some(came + Duration::from_secs(7)));
}

#[test]
fn a_goaway_on_the_standby_that_does_not_rise_is_a_violation_there_or_when_it_is_home() {
    for home in [false, true] {
        let mut client = Client::moving();
        client.attachment.handle_welcome(Slot(1), &welcome(NEW, 2), client.now);
        client.frame(1, goaway(1, Duration::from_secs(7)));
        client.frame(1, Frame::GoAwayCancel { sequence: 1 });
        if home {
            client.frame(1, Frame::ActiveOk { stamp: Stamp::from_u64(2) });
        }
        client.said();
        client.frame(1, goaway(1, Duration::ZERO));
        assert_eq!(client.said()[0], "close 1 protocol_violation");
        assert_eq!(client.attachment.home(), (!home).then_some(Slot(0)));
    }
}

#[test]
fn a_goaway_that_does_not_rise_is_a_violation() {
    let mut client = Client::moving();
    client.frame(0, goaway(1, Duration::ZERO));
    assert_eq!(client.said(), ["close 0 protocol_violation", "lost"]);
}

#[test]
fn relays_that_send_us_around_are_dialed_ever_more_slowly() {
    let mut client = Client::attached();
    let mut waits = Vec::new();
    for slot in 0..6 {
        client.frame(slot, goaway(1, Duration::ZERO));
        waits.push(
            client
                .attachment
                .poll_timeout()
                .map_or(Duration::ZERO, |at| at.saturating_duration_since(client.now)),
        );
        if client.said().last().is_none_or(|last| !last.starts_with("dial")) {
            client.wait();
        }
        client.said();
        client.attachment.handle_welcome(Slot(slot + 1), &welcome(NEW, slot + 2), client.now);
        client.frame(slot + 1, Frame::ActiveOk { stamp: Stamp::from_u64(slot + 2) });
        client.said();
    }
    // The first comes long after WELCOME; the second is the first quick one.
    assert!(waits[2] >= Duration::from_millis(200), "{waits:?}");
    assert!(waits[5] > waits[2], "{waits:?}");
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

/// A client in the middle of a move, whose relays know RECLAIM. It has sent ACTIVE.
fn active() -> Client {
    let mut client = Client::attached();
    client.frame(0, Frame::Capabilities { known: CAPABILITY_RECLAIM });
    client.frame(0, goaway(1, Duration::ZERO));
    client.said();
    client.attachment.handle_welcome(Slot(1), &welcome(NEW, 2), client.now);
    client.frame(1, Frame::Capabilities { known: CAPABILITY_RECLAIM });
    assert_eq!(client.said(), ["send 1 ACTIVE"]);
    client
}

/// A client that has just been told ACTIVE_OK.
fn activated() -> Client {
    let mut client = active();
    client.frame(1, Frame::ActiveOk { stamp: Stamp::from_u64(2) });
    assert_eq!(client.said(), ["use 1", "send 0 MOVED", "handed over 00000001 00000002"]);
    client
}

fn reclaimed() -> Frame {
    Frame::Reclaimed { stamp: Stamp::from_u64(3), ticket: Bytes::from_static(b"of reclaimed") }
}

#[test]
fn a_handover_that_fails_after_active_is_taken_back() {
    let lost = |client: &mut Client| client.closed(1, Closed::Lost(FailureClass::IdleTimeout));
    let silent = |client: &mut Client| {
        client.wait();
    };
    let home_again = |mut client: Client, fail: &dyn Fn(&mut Client), said: &[&str]| {
        fail(&mut client);
        assert_eq!(client.said(), said);
        assert_eq!(client.attachment.home(), Some(Slot(0)));
        client.frame(0, reclaimed());
        assert_eq!(client.said(), ["reclaimed 00000001"]);
        // And then the next attempt, with the ticket whose stamp is the highest.
        client.wait();
        assert_eq!(client.said(), ["dial 2 handover with of reclaimed"]);
        client.attachment.handle_welcome(Slot(2), &welcome(NEW, 4), client.now);
        client.frame(2, Frame::ActiveOk { stamp: Stamp::from_u64(4) });
        let handed = "handed over 00000001 00000002";
        assert_eq!(client.said(), ["send 2 ACTIVE", "use 2", "send 0 MOVED", handed]);
    };
    let failed = "handover failed idle_timeout";
    home_again(active(), &lost, &[failed, "send 0 RECLAIM"]);
    let late = ["close 1 done", "handover failed handshake_timeout", "send 0 RECLAIM"];
    home_again(active(), &silent, &late);
    home_again(activated(), &lost, &["use 0", failed, "send 0 RECLAIM"]);
    let mut confirmed = activated();
    confirmed.frame(0, Frame::MovedOk);
    home_again(confirmed, &lost, &["use 0", failed, "send 0 RECLAIM"]);
}

#[test]
fn reclaim_shows_the_ticket_of_the_welcome_that_failed() {
    for mut client in [active(), activated()] {
        client.closed(1, Closed::Lost(FailureClass::IdleTimeout));
        let sent = std::iter::from_fn(|| client.attachment.poll_output());
        let shown = sent.filter_map(|output| match output {
            Output::Send { slot, frame: Frame::Reclaim { ticket } } => Some((slot, ticket)),
            _ => None,
        });
        assert_eq!(shown.collect::<Vec<_>>(), [(Slot(0), Bytes::from_static(b"ticket 2"))]);
    }
}

#[test]
fn a_relay_that_does_not_know_reclaim_is_not_told_it() {
    let mut client = active();
    client.frame(0, Frame::Capabilities { known: 0 });
    client.closed(1, Closed::Lost(FailureClass::IdleTimeout));
    assert_eq!(client.said(), ["handover failed idle_timeout"]);
    let mut client = activated();
    client.attachment.old.as_mut().unwrap().home.takes_back = false;
    client.closed(1, Closed::Lost(FailureClass::IdleTimeout));
    assert_eq!(client.said(), ["lost", "dial 2 resume with ticket 2"]);
}

#[test]
fn what_is_over_for_good_is_not_taken_back() {
    let mut superseded = activated();
    superseded.closed(1, Closed::ByRelay(CloseCode::Superseded));
    assert_eq!(superseded.said().last().unwrap(), "ended Superseded");
    let mut closing = activated();
    closing.closed(1, Closed::ByRelay(CloseCode::Closing));
    assert_eq!(closing.said().last().unwrap(), "ended Closing");
    let mut expired = activated();
    expired.closed(1, Closed::ByRelay(CloseCode::TokenExpired));
    assert_eq!(expired.said(), ["lost", "dial 2 fresh"]);
}

#[test]
fn a_goaway_that_was_withdrawn_meanwhile_lets_a_client_stay_that_came_back() {
    let mut client = activated();
    client.frame(0, Frame::GoAwayCancel { sequence: 1 });
    client.closed(1, Closed::Lost(FailureClass::IdleTimeout));
    client.said();
    client.frame(0, reclaimed());
    assert_eq!(client.said(), ["reclaimed 00000001", "may stay"]);
    assert_eq!(client.attachment.poll_timeout(), None);
}

#[test]
fn a_goaway_of_the_old_relay_holds_for_a_client_that_came_back() {
    let mut client = activated();
    client.frame(0, Frame::GoAwayCancel { sequence: 1 });
    client.frame(0, goaway(2, Duration::from_secs(7)));
    assert_eq!(client.said(), ["send 0 GOAWAY_ACK"]);
    client.closed(1, Closed::Lost(FailureClass::IdleTimeout));
    client.frame(0, reclaimed());
    client.said();
    assert_eq!(client.wait(), Duration::from_secs(7));
    assert_eq!(client.said(), ["dial 2 handover with of reclaimed"]);
}

#[test]
fn an_answer_to_reclaim_that_does_not_come_is_not_waited_for_forever() {
    let mut client = activated();
    client.closed(1, Closed::Lost(FailureClass::IdleTimeout));
    client.said();
    assert_eq!(client.wait(), Timing::default().answer);
    assert_eq!(client.said(), ["dial 2 handover with ticket 2"]);
}

#[test]
fn relays_that_fail_late_are_dialed_ever_more_slowly() {
    let mut client = activated();
    let mut pauses = Vec::new();
    for slot in 1..8 {
        client.closed(slot, Closed::Lost(FailureClass::IdleTimeout));
        client.frame(0, reclaimed());
        client.said();
        pauses.push(client.wait());
        client.said();
        client.attachment.handle_welcome(Slot(slot + 1), &welcome(NEW, slot), client.now);
        client.frame(slot + 1, Frame::ActiveOk { stamp: Stamp::from_u64(slot) });
        client.said();
    }
    let timing = Timing::default();
    for (n, pause) in pauses.iter().enumerate() {
        let whole = timing.backoff * 2_u32.pow(n as u32);
        assert!(*pause >= whole / 2 && *pause <= whole, "pause {n}: {pause:?} of {whole:?}");
    }
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

/// What the world does to a client, about one of its newest connections.
#[derive(Clone, Debug)]
enum Fate {
    Welcome,
    Refuse(Retry),
    TurnAway,
    FailDial,
    GoAway,
    Cancel,
    Capabilities,
    Reclaimed,
    ActiveOk,
    MovedOk,
    Close,
    Suspect,
    Heard,
    Wait(u64),
}

fn fates() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Welcome),
        1 => Just(Fate::Refuse(Retry::Fresh)),
        1 => Just(Fate::Refuse(Retry::After(Duration::from_millis(50)))),
        1 => Just(Fate::TurnAway),
        1 => Just(Fate::FailDial),
        3 => Just(Fate::GoAway),
        1 => Just(Fate::Cancel),
        3 => Just(Fate::Capabilities),
        2 => Just(Fate::Reclaimed),
        4 => Just(Fate::ActiveOk),
        3 => Just(Fate::MovedOk),
        1 => Just(Fate::Close),
        1 => Just(Fate::Suspect),
        1 => Just(Fate::Heard),
        4 => (0_u64..8000).prop_map(Fate::Wait),
    ]
}

/// A world of connections, judging what the client does to them.
#[derive(Default)]
struct World {
    open: BTreeMap<u64, bool>,
    newest: u64,
    in_use: Option<u64>,
    sequence: u64,
}

impl World {
    fn obey(&mut self, client: &mut Client) {
        while let Some(output) = client.attachment.poll_output() {
            match output {
                Output::Dial { slot, intent, ticket, .. } => {
                    assert_eq!(ticket.is_some(), intent != Intent::Fresh);
                    assert!(
                        self.open.insert(slot.0, false).is_none(),
                        "a connection is dialed once"
                    );
                    self.newest = slot.0;
                }
                Output::Send { slot, frame } => {
                    assert_eq!(
                        self.open.get(&slot.0),
                        Some(&true),
                        "{} to a connection without WELCOME",
                        frame.name()
                    );
                }
                Output::Use { slot } => {
                    assert_eq!(self.open.get(&slot.0), Some(&true));
                    self.in_use = Some(slot.0);
                }
                Output::Close { slot, .. } => {
                    assert!(self.open.remove(&slot.0).is_some(), "closed twice: {slot:?}");
                }
                Output::Event(_) => {}
            }
        }
        assert!(self.open.len() <= 3, "home, next and old at most: {:?}", self.open);
        if let Some(home) = client.attachment.home() {
            assert_eq!(self.in_use, Some(home.0), "what is used is home");
        }
    }

    fn happen(&mut self, client: &mut Client, fate: &Fate) {
        let (slot, now) = (Slot(self.newest), client.now);
        let known = self.open.get(&self.newest).copied();
        let home = client.attachment.home();
        match fate {
            Fate::Welcome if known == Some(false) => {
                self.open.insert(slot.0, true);
                client.attachment.handle_welcome(slot, &welcome(NEW, slot.0), now);
            }
            Fate::Refuse(retry) if known == Some(false) => {
                client.attachment.handle_refused(slot, refused(RefusalCode::Full, *retry), now);
            }
            Fate::TurnAway | Fate::FailDial if known == Some(false) => {
                self.open.remove(&slot.0);
                let turned_away = matches!(fate, Fate::TurnAway);
                let failed = DialFailure::Failed(FailureClass::Other);
                let failure = if turned_away { DialFailure::TurnedAway } else { failed };
                client.attachment.handle_dial_failure(slot, failure, now);
            }
            Fate::GoAway if known == Some(true) => {
                self.sequence += 1;
                client.frame(slot.0, goaway(self.sequence, Duration::from_millis(300)));
            }
            Fate::Cancel if known == Some(true) => {
                client.frame(slot.0, Frame::GoAwayCancel { sequence: self.sequence })
            }
            Fate::Capabilities if known == Some(true) => {
                client.frame(slot.0, Frame::Capabilities { known: CAPABILITY_RECLAIM });
            }
            Fate::Reclaimed => {
                let (stamp, ticket) = (Stamp::from_u64(slot.0), Bytes::from_static(b"again"));
                let frame = Frame::Reclaimed { stamp, ticket };
                home.into_iter().for_each(|home| client.frame(home.0, frame.clone()));
            }
            Fate::ActiveOk if known == Some(true) => {
                client.frame(slot.0, Frame::ActiveOk { stamp: Stamp::from_u64(slot.0) })
            }
            Fate::MovedOk => {
                let oldest = self.open.keys().next().copied();
                oldest.into_iter().for_each(|oldest| client.frame(oldest, Frame::MovedOk));
            }
            Fate::Close if known == Some(true) => {
                self.open.remove(&slot.0);
                client.closed(slot.0, Closed::ByRelay(CloseCode::GoawayTimeout));
            }
            Fate::Suspect => {
                home.into_iter().for_each(|home| client.attachment.handle_suspect(home, now))
            }
            Fate::Heard => home.into_iter().for_each(|home| client.attachment.handle_heard(home)),
            Fate::Wait(ms) => client.pass(Duration::from_millis(*ms)),
            _ => {}
        }
        self.obey(client);
    }
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Whatever the world does: connections are dialed once and closed once, nothing is sent where nobody listens, what is in
    /// use is home, and a world that turns kind finds the client attached soon.
    #[test]
    fn a_client_survives_any_world(fates in prop::collection::vec(fates(), 1..60)) {
        let mut client = Client::new();
        let mut world = World::default();
        world.obey(&mut client);
        for fate in &fates {
            world.happen(&mut client, fate);
        }
        for _ in 0..20 {
            for fate in [Fate::Heard, Fate::Welcome, Fate::ActiveOk, Fate::MovedOk, Fate::Wait(11_000)] {
                world.happen(&mut client, &fate);
            }
        }
        prop_assert!(client.attachment.home().is_some());
        prop_assert_eq!(world.open.len(), 1, "and nothing else is left open: {:?}", world.open);
        prop_assert_eq!(client.attachment.poll_timeout(), None);
    }
}
