#![expect(clippy::disallowed_methods, reason = "a test starts somewhere; only differences matter")]

use proptest::prelude::*;

use super::PeerState::{Offline, Online};
use super::*;

const PEER: PeerId = PeerId::from_bytes([1; 32]);
const A: RelayId = RelayId::from_u32(0xa);
const B: RelayId = RelayId::from_u32(0xb);

fn by(intent: Intent, stamp: u64, relay: RelayId, instance: u8) -> Home {
    Home {
        stamp: Stamp::from_u64(stamp),
        relay,
        instance: Instance::from_bytes([instance; 16]),
        group: String::new(),
        intent,
    }
}

fn home(stamp: u64, relay: RelayId, instance: u8) -> Home {
    by(Intent::Fresh, stamp, relay, instance)
}

fn events(change: Option<Change>) -> Vec<PeerState> {
    change.map(|change| change.events("").to_vec()).unwrap_or_default()
}

#[test]
fn a_handover_is_no_event_and_any_other_attachment_is_two() {
    let mut presence = Presence::new();
    assert_eq!(events(presence.announce(PEER, home(1, A, 1))), [Online]);
    assert_eq!(events(presence.announce(PEER, by(Intent::Handover, 2, B, 1))), []);
    assert_eq!(presence.home(&PEER), Some(&by(Intent::Handover, 2, B, 1)));
    assert_eq!(events(presence.announce(PEER, by(Intent::Resume, 3, A, 1))), [Offline, Online]);
    assert_eq!(events(presence.announce(PEER, home(4, A, 2))), [Offline, Online]);
}

#[test]
fn what_replaces_says_whom_it_replaced() {
    let mut presence = Presence::new();
    presence.announce(PEER, home(1, A, 1));
    let resumed = presence.announce(PEER, by(Intent::Resume, 2, B, 1)).unwrap();
    let loser = |stamp, relay, by_another_instance| {
        Some(Replaced { stamp: Stamp::from_u64(stamp), relay, by_another_instance })
    };
    assert_eq!(resumed.replaced, loser(1, A, false));
    let superseded = presence.announce(PEER, home(3, A, 9)).unwrap();
    assert_eq!(superseded.replaced, loser(2, B, true));
    let handed_over = presence.announce(PEER, by(Intent::Handover, 4, B, 9)).unwrap();
    assert_eq!(handed_over.replaced, None, "the old relay never evicts on a handover");
}

#[test]
fn a_withdrawal_removes_only_the_identical_attachment() {
    let now = Instant::now();
    let mut presence = Presence::new();
    presence.announce(PEER, home(2, A, 1));
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
    presence.announce(PEER, home(2, A, 1));
    presence.withdraw(PEER, Stamp::from_u64(2), A, Withdrawal::Gone, now);
    assert_eq!(presence.announce(PEER, home(1, B, 1)), None);
    assert_eq!(presence.announce(PEER, home(2, A, 1)), None);
    assert_eq!(presence.next_stamp(&PEER, None, 0), Stamp::from_u64(3));
    assert_eq!(presence.handle_timeout(now + TOMBSTONE), []);
    assert_eq!(presence.next_stamp(&PEER, None, 0), Stamp::from_u64(0), "forgotten");
}

#[test]
fn of_too_many_who_are_gone_the_oldest_are_forgotten_and_nobody_who_is_there() {
    let mut now = Instant::now();
    let mut presence = Presence::new();
    let peer = |number: usize| {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
        PeerId::from_bytes(bytes)
    };
    let stays = PeerId::from_bytes([255; 32]);
    presence.announce(stays, home(1, A, 1));
    for number in 0..MAX_TOMBSTONES + 1000 {
        now += Duration::from_micros(1);
        presence.announce(peer(number), home(1, A, 1));
        presence.withdraw(peer(number), Stamp::from_u64(1), A, Withdrawal::Gone, now);
    }
    assert_eq!(presence.peers.len(), MAX_TOMBSTONES + 1);
    assert_eq!(presence.timers.len(), MAX_TOMBSTONES);
    assert!(presence.home(&stays).is_some());
    assert_eq!(presence.last(&peer(999)), None, "the oldest");
    assert!(presence.last(&peer(1000)).is_some());
}

#[test]
fn a_move_waits_for_its_announcement_but_not_for_ever() {
    let now = Instant::now();
    let mut presence = Presence::new();
    presence.announce(PEER, home(1, A, 1));
    assert_eq!(presence.withdraw(PEER, Stamp::from_u64(1), A, Withdrawal::Moved, now), None);
    assert_eq!(
        presence.home(&PEER),
        Some(&home(1, A, 1)),
        "until then what comes goes to where it was"
    );
    assert_eq!(events(presence.announce(PEER, by(Intent::Handover, 2, B, 1))), []);
    assert_eq!(presence.poll_timeout(), None);

    presence.withdraw(PEER, Stamp::from_u64(2), B, Withdrawal::Moved, now);
    let due = presence.poll_timeout().unwrap();
    assert_eq!(due, now + MOVE_PATIENCE);
    assert_eq!(presence.handle_timeout(due - Duration::from_millis(1)), []);
    let changes = presence.handle_timeout(due);
    assert_eq!(changes.len(), 1);
    assert_eq!((changes[0].events(""), changes[0].relay), (&[Offline][..], None));
}

#[test]
fn a_lost_link_is_not_an_offline_until_it_lasts() {
    let now = Instant::now();
    let other = PeerId::from_bytes([2; 32]);
    let mut presence = Presence::new();
    presence.announce(PEER, home(1, A, 1));
    presence.announce(other, home(1, A, 2));
    presence.link_lost(A, now);
    assert!(presence.home(&PEER).is_some());
    // The link comes back; the sibling names one of the two again.
    assert_eq!(presence.announce(PEER, home(1, A, 1)), None);
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
    presence.announce(PEER, home(1, A, 1));
    assert_eq!(presence.find(PEER.prefix()), Some(PEER));
    assert_eq!(presence.find(PeerPrefix::from_bytes([9; 16])), None);
    presence.withdraw(PEER, Stamp::from_u64(1), A, Withdrawal::Gone, Instant::now());
    assert_eq!(presence.find(PEER.prefix()), None);
}

#[test]
fn who_was_given_up_comes_back_when_its_relay_names_it_again() {
    let now = Instant::now();
    let mut presence = Presence::new();
    presence.announce(PEER, home(1, A, 1));
    presence.link_lost(A, now);
    let later = now + LINK_PATIENCE;
    assert_eq!(presence.handle_timeout(later).len(), 1, "the outage was longer than the patience");
    assert_eq!(events(presence.announce(PEER, home(1, A, 1))), [Online], "it never left");
    assert_eq!(presence.link_synced(A, later), []);
    assert_eq!(presence.home(&PEER), Some(&home(1, A, 1)));
    assert_eq!(presence.poll_timeout(), None);
}

#[test]
fn a_handover_of_another_process_is_none() {
    let mut presence = Presence::new();
    presence.announce(PEER, home(1, A, 1));
    presence.announce(PEER, home(2, A, 2));
    // The standby of the process that lost, made before it lost, at a relay that had not heard of it.
    let change = presence.announce(PEER, by(Intent::Handover, 3, B, 1)).unwrap();
    assert_eq!(change.events(""), [Offline, Online]);
    let loser = Replaced { stamp: Stamp::from_u64(2), relay: A, by_another_instance: true };
    assert_eq!(change.replaced, Some(loser));
}

#[test]
fn what_only_the_client_said_must_be_confirmed() {
    let now = Instant::now();
    let mut presence = Presence::new();
    presence.announce(PEER, home(1, A, 1));
    let there = by(Intent::Handover, 2, B, 1);
    let change = presence.rumour(PEER, there.clone(), now).unwrap();
    assert_eq!((change.events(""), change.relay), (&[][..], Some(B)));
    assert_eq!(presence.at(B).count(), 0, "it is told to nobody");
    assert_eq!(presence.link_synced(B, now), [], "the announcement may be under way");
    assert_eq!(presence.announce(PEER, there.clone()), None);
    assert_eq!(presence.poll_timeout(), None, "confirmed");

    presence.rumour(PEER, by(Intent::Handover, 3, A, 1), now);
    let gone = presence.handle_timeout(now + MOVE_PATIENCE);
    assert_eq!(gone.iter().map(|change| change.events("")).collect::<Vec<_>>(), [[Offline]]);
    assert_eq!(presence.online(), 0);
    assert_eq!(presence.rumour(PEER, there, now), None, "an old one is no news");
}

#[test]
fn a_peer_that_moves_is_waited_for_although_its_relay_says_goodbye() {
    let now = Instant::now();
    let mut presence = Presence::new();
    presence.announce(PEER, home(1, A, 1));
    presence.withdraw(PEER, Stamp::from_u64(1), A, Withdrawal::Moved, now);
    presence.link_lost(A, now);
    assert_eq!(presence.link_synced(A, now), [], "only those that did not say where they go");
    assert_eq!(events(presence.announce(PEER, by(Intent::Handover, 2, B, 1))), []);
}

#[test]
fn watchers_of_another_group_are_told_nothing_and_a_peer_may_change_its_group() {
    let now = Instant::now();
    let mut presence = Presence::new();
    let of = |stamp, group: &str| Home { group: group.into(), ..home(stamp, A, 1) };
    let told = |change: &Change| {
        (change.events("one").to_vec(), change.events("two").to_vec(), change.events("").to_vec())
    };
    let came = presence.announce(PEER, of(1, "one")).unwrap();
    assert_eq!(told(&came), (vec![Online], vec![], vec![]));
    let changed = presence.announce(PEER, of(2, "two")).unwrap();
    assert_eq!(told(&changed), (vec![Offline], vec![Online], vec![]));
    let again = presence.announce(PEER, of(3, "two")).unwrap();
    assert_eq!(told(&again), (vec![], vec![Offline, Online], vec![]));
    let left = presence.withdraw(PEER, Stamp::from_u64(3), A, Withdrawal::Gone, now).unwrap();
    assert_eq!(told(&left), (vec![], vec![Offline], vec![]));
}

/// One piece of news about the peer.
#[derive(Clone, Debug)]
enum News {
    Announce(u64, u32, Intent),
    Rumour(u64, u32),
    Withdraw(u64, u32, Withdrawal),
    LinkLost(u32),
    LinkSynced(u32),
}

fn news() -> impl Strategy<Value = News> {
    let intents = prop::sample::select(&Intent::ALL[..]);
    let why = prop_oneof![Just(Withdrawal::Gone), Just(Withdrawal::Moved)];
    prop_oneof![
        (1_u64..6, 0_u32..3, intents)
            .prop_map(|(stamp, relay, intent)| News::Announce(stamp, relay, intent)),
        (1_u64..6, 0_u32..3, why).prop_map(|(stamp, relay, why)| News::Withdraw(stamp, relay, why)),
        (1_u64..6, 0_u32..3).prop_map(|(stamp, relay)| News::Rumour(stamp, relay)),
        (0_u32..3).prop_map(News::LinkLost),
        (0_u32..3).prop_map(News::LinkSynced),
    ]
}

fn tell(presence: &mut Presence, news: &News, now: Instant) -> Vec<Change> {
    let relay = RelayId::from_u32;
    match *news {
        News::Announce(stamp, at, intent) => {
            presence.announce(PEER, by(intent, stamp, relay(at), 1)).into_iter().collect()
        }
        News::Rumour(stamp, at) => {
            let home = by(Intent::Handover, stamp, relay(at), 1);
            presence.rumour(PEER, home, now).into_iter().collect()
        }
        News::Withdraw(stamp, at, why) => {
            let stamp = Stamp::from_u64(stamp);
            presence.withdraw(PEER, stamp, relay(at), why, now).into_iter().collect()
        }
        News::LinkLost(at) => {
            presence.link_lost(relay(at), now);
            Vec::new()
        }
        News::LinkSynced(at) => presence.link_synced(relay(at), now),
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
            seen.extend(due.into_iter().flat_map(|change| change.events("").to_vec()));
            let told = tell(&mut presence, &news, now);
            seen.extend(told.into_iter().flat_map(|change| change.events("").to_vec()));
            prop_assert_eq!(*seen.last().unwrap() == Online, presence.home(&PEER).is_some());
            prop_assert_eq!(presence.online(), usize::from(presence.home(&PEER).is_some()));
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
            presence.announce(PEER, by(Intent::Handover, stamp, RelayId::from_u32(relay), 1));
        };
        script.iter().for_each(|news| announce(&mut one, *news));
        let mut turned = script.clone();
        turned.rotate_left(order.index(script.len()));
        turned.iter().rev().for_each(|news| announce(&mut other, *news));
        prop_assert_eq!(one.home(&PEER), other.home(&PEER));
    }
}
