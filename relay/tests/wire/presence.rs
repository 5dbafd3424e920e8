//! What watchers and senders are told when it is much, or at an awkward moment.

use std::time::{Duration, Instant};

use baton_protocol::frame::{Frame, Intent, NoticeCode, PeerState};
use baton_protocol::id::PeerId;
use baton_relay::Relay;
use bytes::Bytes;

use crate::peer::{Peer, Who};
use crate::pool;

/// Attaches anew as the same process: for watchers that is offline, then online.
async fn again(relay: &Relay, who: &Who) -> Peer {
    Peer::attach_with(relay, who, who.hello(Intent::Fresh, Bytes::new(), Bytes::new())).await.0
}

#[tokio::test]
async fn a_watcher_that_falls_behind_is_told_so_and_watches_anew() {
    // More answers than a relay writes for a client that does not read (32 KiB, and 448 frames), and more changes than it keeps
    // for one. But all that is asked must find room on its way, too.
    const ASKED: usize = 1_700;
    const CHANGES: usize = 150;
    let relay = pool::one().await;
    let (a, b) = (Who::new(1), Who::new(2));
    let (mut watcher, _) = Peer::attach(&relay, &a).await;
    let mut homes = vec![again(&relay, &b).await];
    watcher.say(Frame::Watch { peer: b.id() }).await;
    let nobody = PeerId::from_bytes([9; 32]);
    let both = [Frame::Watch { peer: nobody }.encode(), Frame::Unwatch { peer: nobody }.encode()];
    watcher.write(&both.concat().repeat(ASKED)).await;
    for _ in 0..CHANGES {
        homes.push(again(&relay, &b).await);
    }
    let mut last = 0;
    let mut presence = |frame: Frame| match frame {
        Frame::Presence { sequence, peer, state } => {
            assert_eq!(sequence, last + 1, "none is missing in the count");
            last = sequence;
            (peer == b.id()).then_some(state)
        }
        other => panic!("{} instead of PRESENCE", other.name()),
    };
    let mut changes = 0;
    loop {
        match watcher.next().await {
            Frame::Resync => break,
            frame => changes += usize::from(presence(frame).is_some()),
        }
    }
    assert!(changes < 2 * CHANGES, "some were dropped: {changes}");
    // It is told nothing more of whom it does not watch.
    homes.push(again(&relay, &b).await);
    let home = again(&relay, &b).await;
    watcher.say(Frame::Watch { peer: b.id() }).await;
    let state = loop {
        if let Some(state) = presence(watcher.next().await) {
            break state;
        }
    };
    assert_eq!(state, PeerState::Online);
    home.connection.close(0_u32.into(), b"");
    let state = loop {
        if let Some(state) = presence(watcher.next().await) {
            break state;
        }
    };
    assert_eq!(state, PeerState::Offline);
    relay.stop().await;
}

#[tokio::test]
async fn whoever_begins_to_watch_in_the_middle_misses_nothing_and_sees_nothing_twice() {
    const WATCHERS: u8 = 100;
    let relay = pool::one().await;
    let b = Who::new(1);
    for round in 0..WATCHERS {
        let (mut watcher, _) = Peer::attach(&relay, &Who::new(100 + round)).await;
        // Which of the two is first differs from round to round.
        let (peer, first) = tokio::join!(again(&relay, &b), async {
            tokio::time::sleep(Duration::from_micros(u64::from(round) * 40)).await;
            watcher.say(Frame::Watch { peer: b.id() }).await;
            watcher.next().await
        });
        peer.connection.close(0_u32.into(), b"");
        let mut seen = Vec::new();
        let mut next = first;
        loop {
            let Frame::Presence { sequence, state, .. } = next else { panic!("no PRESENCE") };
            seen.push(state);
            assert_eq!(sequence, seen.len() as u64);
            if state == PeerState::Offline && seen.contains(&PeerState::Online) {
                break;
            }
            next = watcher.next().await;
        }
        assert!(seen.windows(2).all(|pair| pair[0] != pair[1]), "round {round}: {seen:?}");
        assert!(seen.len() <= 3, "round {round}: {seen:?}");
        watcher.connection.close(0_u32.into(), b"");
    }
    relay.stop().await;
}

#[tokio::test]
async fn a_sender_is_told_once_a_second_that_nobody_is_there() {
    const SENT_FOR: Duration = Duration::from_millis(2300);
    let relay = pool::one().await;
    let (mut peer, _) = Peer::attach(&relay, &Who::new(1)).await;
    for alias in [16, 17] {
        peer.open(alias, PeerId::from_bytes([alias as u8; 32])).await;
    }
    let begun = Instant::now();
    while begun.elapsed() < SENT_FOR {
        for alias in [16, 17] {
            peer.send_datagram(alias, b"anyone?");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let lasted = begun.elapsed();
    // The answer to this comes after all that was said before.
    peer.say(Frame::Watch { peer: PeerId::from_bytes([9; 32]) }).await;
    let mut notices = 0;
    loop {
        match peer.next().await {
            Frame::Notice { code: NoticeCode::Offline, .. } => notices += 1,
            Frame::Presence { .. } => break,
            other => panic!("{other:?}"),
        }
    }
    // At the beginning, and at each whole second.
    assert!(notices >= 2 && notices <= 1 + lasted.as_secs(), "{notices} in {lasted:?}");
    relay.stop().await;
}
