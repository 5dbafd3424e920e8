#![expect(clippy::disallowed_methods, reason = "a test starts somewhere; only differences matter")]

use super::*;

const RTT: Duration = Duration::from_millis(40);
const BUSY: Wire = Wire { stream_frames: 7, lost: 3, is_empty: false, rtt: RTT };
const EMPTY: Wire = Wire { is_empty: true, ..BUSY };
const SENT: Wire = Wire { stream_frames: 8, ..BUSY };

fn written(now: Instant) -> Hold {
    let mut hold = Hold::default();
    hold.written(BUSY, now);
    hold
}

#[test]
fn nothing_waits_where_nothing_was_written() {
    let mut hold = Hold::default();
    assert!(!hold.may_hold());
    assert!(!hold.holds_back(100, BUSY, Instant::now()));
}

#[test]
fn a_datagram_waits_until_a_stream_frame_was_sent_however_long_that_takes() {
    let now = Instant::now();
    let mut hold = written(now);
    assert!(hold.holds_back(100, BUSY, now));
    assert!(hold.holds_back(100, BUSY, now + RTT * 5), "what was handed over before has not left");
    assert!(!hold.holds_back(100, SENT, now + RTT * 5));
    let mut hold = written(now);
    assert!(!hold.holds_back(100, BUSY, now + MAX_HOLD), "but not for ever");
}

#[test]
fn a_round_trip_with_nothing_else_to_send_is_enough() {
    let now = Instant::now();
    let mut hold = written(now);
    assert!(hold.holds_back(100, EMPTY, now + RTT));
    assert!(hold.holds_back(100, EMPTY, now + RTT * 2 - STEP));
    assert!(!hold.holds_back(100, EMPTY, now + RTT * 2));
}

#[test]
fn a_loss_soon_after_may_have_been_of_control_bytes() {
    let now = Instant::now();
    let mut hold = written(now);
    assert!(!hold.holds(SENT, now));
    let lost = Wire { lost: 4, ..SENT };
    assert!(hold.holds(lost, now + RTT));
    assert!(!hold.holds(Wire { stream_frames: 9, ..lost }, now + RTT + STEP), "they went again");
    let later = Wire { stream_frames: 9, lost: 5, ..SENT };
    assert!(!hold.holds(later, now + RTT * (RECENT + 1) + STEP), "they have arrived long since");
    assert!(!hold.may_hold());
}

#[test]
fn what_was_sent_again_may_be_lost_again_however_long_ago_it_was_written() {
    let now = Instant::now();
    let (mut hold, mut wire) = (written(now), SENT);
    // Each loss is found late, as where a receiver acknowledges seldom; three make more than all that is recent.
    for loss in 0..3 {
        let sent = now + RTT * (RECENT - 2) * loss;
        assert!(!hold.holds_back(HANDED_OVER, wire, sent), "they were sent");
        wire.lost += 1;
        assert!(hold.holds_back(1, wire, sent + RTT * (RECENT - 3)), "loss {loss}");
        wire.stream_frames += 1;
    }
    let sent = now + RTT * (RECENT - 2) * 3;
    assert!(!hold.holds_back(HANDED_OVER, wire, sent), "they were sent");
    assert!(!hold.holds_back(1, wire, sent + RTT * RECENT));
    assert!(!hold.may_hold(), "and have arrived");
}

#[test]
fn a_trickle_of_control_bytes_leaves_room_for_datagrams() {
    let (start, length) = (Instant::now(), 1000);
    let (mut hold, mut now, mut wire, mut passed) = (Hold::default(), start, BUSY, 0);
    while now < start + RTT * 100 {
        // Written all the time, and a frame is sent each round trip.
        hold.written(wire, now);
        wire.stream_frames = ((now - start).as_nanos() / RTT.as_nanos()) as u64;
        if hold.holds_back(length, wire, now) { now += STEP } else { passed += length }
    }
    assert!(passed >= 90 * (HANDED_OVER - length), "{passed} bytes in a hundred round trips");
    assert!(passed <= 101 * HANDED_OVER, "{passed} bytes in a hundred round trips");
}

#[test]
fn a_hold_that_is_over_is_forgotten_and_leaves_nothing_to_the_next() {
    let now = Instant::now();
    let mut hold = written(now);
    assert!(!hold.holds_back(100, SENT, now), "it was sent, and others may follow");
    assert!(!hold.holds_back(100, SENT, now + RTT * RECENT));
    assert!(!hold.may_hold(), "whatever is left of them");
    hold.written(SENT, now + RTT * RECENT);
    assert!(hold.holds_back(100, SENT, now + RTT * RECENT));
}

#[test]
fn bytes_that_are_never_sent_do_not_stop_datagrams() {
    let (start, length) = (Instant::now(), 1000);
    let (mut hold, mut now, mut passed) = (Hold::default(), start, 0);
    while now < start + MAX_HOLD * 10 {
        hold.written(BUSY, now);
        if hold.holds_back(length, BUSY, now) { now += STEP } else { passed += length }
    }
    assert!(passed >= 9 * (HANDED_OVER - length), "{passed} bytes");
}
