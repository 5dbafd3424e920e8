//! GOAWAY and its withdrawal.

use super::*;

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
