//! Handovers that fail late.

use super::*;

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
