#![expect(clippy::disallowed_methods, reason = "a test starts somewhere; only differences matter")]

use proptest::prelude::*;

use super::PeerState::{Offline, Online};
use super::*;

const PEER: PeerId = PeerId::from_bytes([1; 32]);
const A: RelayId = RelayId::from_u32(0xa);
const B: RelayId = RelayId::from_u32(0xb);

fn home(stamp: u64, relay: RelayId, instance: u8) -> Home {
    Home {
        stamp: Stamp::from_u64(stamp),
        relay,
        instance: Instance::from_bytes([instance; 16]),
        group: String::new(),
    }
}

fn events(change: Option<Change>) -> Vec<PeerState> {
    change.map(|change| change.events).unwrap_or_default()
}

#[test]
fn a_handover_is_no_event_and_any_other_attachment_is_two() {
    let mut presence = Presence::new();
    assert_eq!(events(presence.announce(PEER, home(1, A, 1), Intent::Fresh)), [Online]);
    assert_eq!(events(presence.announce(PEER, home(2, B, 1), Intent::Handover)), []);
    assert_eq!(presence.home(&PEER), Some(&home(2, B, 1)));
    assert_eq!(events(presence.announce(PEER, home(3, A, 1), Intent::Resume)), [Offline, Online]);
    assert_eq!(events(presence.announce(PEER, home(4, A, 2), Intent::Fresh)), [Offline, Online]);
}

#[test]
fn what_replaces_says_whom_it_replaced() {
    let mut presence = Presence::new();
    presence.announce(PEER, home(1, A, 1), Intent::Fresh);
    let resumed = presence.announce(PEER, home(2, B, 1), Intent::Resume).unwrap();
    let loser = |stamp, relay, by_another_instance| {
        Some(Replaced { stamp: Stamp::from_u64(stamp), relay, by_another_instance })
    };
    assert_eq!(resumed.replaced, loser(1, A, false));
    let superseded = presence.announce(PEER, home(3, A, 9), Intent::Fresh).unwrap();
    assert_eq!(superseded.replaced, loser(2, B, true));
    let handed_over = presence.announce(PEER, home(4, B, 9), Intent::Handover).unwrap();
    assert_eq!(handed_over.replaced, None, "the old relay never evicts on a handover");
}

#[test]
fn a_withdrawal_removes_only_the_identical_attachment() {
    let now = Instant::now();
    let mut presence = Presence::new();
    presence.announce(PEER, home(2, A, 1), Intent::Fresh);
    assert_eq!(presence.withdraw(PEER, Stamp::from_u64(1), A, Withdrawal::Gone, now), None);
    assert_eq!(presence.withdraw(PEER, Stamp::from_u64(2), B, Withdrawal::Gone, now), None);
    assert_eq!(
        events(presence.withdraw(PEER, Stamp::from_u64(2), A, Withdrawal::Gone, now)),
        [Offline]
    );
    assert_eq!(presence.withdraw(PEER, Stamp::from_u64(2), A, Withdrawal::Gone, now), None, "once");
    assert_eq!(presence.home(&PEER), None);
}

#[test]
fn a_late_announcement_does_not_bring_back_who_is_gone() {
    let now = Instant::now();
    let mut presence = Presence::new();
    presence.announce(PEER, home(2, A, 1), Intent::Fresh);
    presence.withdraw(PEER, Stamp::from_u64(2), A, Withdrawal::Gone, now);
    assert_eq!(presence.announce(PEER, home(1, B, 1), Intent::Fresh), None);
    assert_eq!(presence.announce(PEER, home(2, A, 1), Intent::Fresh), None);
    assert_eq!(presence.next_stamp(&PEER, None, 0), Stamp::from_u64(3));
    assert_eq!(presence.handle_timeout(now + TOMBSTONE), []);
    assert_eq!(presence.next_stamp(&PEER, None, 0), Stamp::from_u64(0), "forgotten");
}

#[test]
fn a_move_waits_for_its_announcement_but_not_for_ever() {
    let now = Instant::now();
    let mut presence = Presence::new();
    presence.announce(PEER, home(1, A, 1), Intent::Fresh);
    assert_eq!(presence.withdraw(PEER, Stamp::from_u64(1), A, Withdrawal::Moved, now), None);
    assert_eq!(
        presence.home(&PEER),
        Some(&home(1, A, 1)),
        "until then what comes goes to where it was"
    );
    assert_eq!(events(presence.announce(PEER, home(2, B, 1), Intent::Handover)), []);
    assert_eq!(presence.poll_timeout(), None);

    presence.withdraw(PEER, Stamp::from_u64(2), B, Withdrawal::Moved, now);
    let due = presence.poll_timeout().unwrap();
    assert_eq!(due, now + MOVE_PATIENCE);
    assert_eq!(presence.handle_timeout(due - Duration::from_millis(1)), []);
    let changes = presence.handle_timeout(due);
    assert_eq!(changes.len(), 1);
    assert_eq!((changes[0].events.as_slice(), changes[0].relay), (&[Offline][..], None));
}

#[test]
fn a_lost_link_is_not_an_offline_until_it_lasts() {
    let now = Instant::now();
    let other = PeerId::from_bytes([2; 32]);
    let mut presence = Presence::new();
    presence.announce(PEER, home(1, A, 1), Intent::Fresh);
    presence.announce(other, home(1, A, 2), Intent::Fresh);
    presence.link_lost(A, now);
    assert!(presence.home(&PEER).is_some());
    // The link comes back; the sibling names one of the two again.
    assert_eq!(presence.announce(PEER, home(1, A, 1), Intent::Fresh), None);
    let gone = presence.link_synced(A, now);
    assert_eq!(gone.iter().map(|change| change.peer).collect::<Vec<_>>(), [other]);
    assert_eq!(presence.handle_timeout(now + LINK_PATIENCE), []);
    // It is lost for good.
    presence.link_lost(A, now);
    assert_eq!(presence.handle_timeout(now + LINK_PATIENCE).len(), 1);
    assert_eq!(presence.home(&PEER), None);
}

#[test]
fn a_peer_is_found_by_its_prefix() {
    let mut presence = Presence::new();
    presence.announce(PEER, home(1, A, 1), Intent::Fresh);
    assert_eq!(presence.find(PEER.prefix()), Some(PEER));
    assert_eq!(presence.find(PeerPrefix::from_bytes([9; 16])), None);
    presence.withdraw(PEER, Stamp::from_u64(1), A, Withdrawal::Gone, Instant::now());
    assert_eq!(presence.find(PEER.prefix()), None);
}

/// One piece of news about the peer.
#[derive(Clone, Debug)]
enum News {
    Announce(u64, u32, Intent),
    Withdraw(u64, u32, Withdrawal),
}

fn news() -> impl Strategy<Value = News> {
    let intents = prop::sample::select(&Intent::ALL[..]);
    let why = prop_oneof![Just(Withdrawal::Gone), Just(Withdrawal::Moved)];
    prop_oneof![
        (1_u64..6, 0_u32..3, intents)
            .prop_map(|(stamp, relay, intent)| News::Announce(stamp, relay, intent)),
        (1_u64..6, 0_u32..3, why).prop_map(|(stamp, relay, why)| News::Withdraw(stamp, relay, why)),
    ]
}

fn tell(presence: &mut Presence, news: &News, now: Instant) -> Option<Change> {
    match *news {
        News::Announce(stamp, relay, intent) => {
            presence.announce(PEER, home(stamp, RelayId::from_u32(relay), 1), intent)
        }
        News::Withdraw(stamp, relay, why) => {
            presence.withdraw(PEER, Stamp::from_u64(stamp), RelayId::from_u32(relay), why, now)
        }
    }
}

proptest! {
    /// Whatever comes in whatever order, watchers see online and offline in turns, and the last one they saw is true.
    #[test]
    fn watchers_see_online_and_offline_in_turns(script in prop::collection::vec((news(), 0_u64..8), 1..40)) {
        let mut now = Instant::now();
        let mut presence = Presence::new();
        let mut seen = vec![Offline];
        for (news, seconds) in script {
            now += Duration::from_secs(seconds);
            let due = presence.handle_timeout(now);
            seen.extend(due.into_iter().flat_map(|change| change.events));
            seen.extend(events(tell(&mut presence, &news, now)));
            prop_assert_eq!(*seen.last().unwrap() == Online, presence.home(&PEER).is_some());
        }
        prop_assert!(seen.windows(2).all(|pair| pair[0] != pair[1]), "{:?}", seen);
    }

    /// Two relays that hear the same announcements in different orders agree where the peer is.
    #[test]
    fn relays_agree_whatever_the_order(
        script in prop::collection::vec((1_u64..20, 0_u32..3), 1..12),
        order in any::<prop::sample::Index>(),
    ) {
        let mut one = Presence::new();
        let mut other = Presence::new();
        let announce = |presence: &mut Presence, (stamp, relay): (u64, u32)| {
            presence.announce(PEER, home(stamp, RelayId::from_u32(relay), 1), Intent::Handover);
        };
        script.iter().for_each(|news| announce(&mut one, *news));
        let mut turned = script.clone();
        turned.rotate_left(order.index(script.len()));
        turned.iter().rev().for_each(|news| announce(&mut other, *news));
        prop_assert_eq!(one.home(&PEER), other.home(&PEER));
    }
}
