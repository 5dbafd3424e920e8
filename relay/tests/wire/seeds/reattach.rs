//! A peer comes back under its id while its old connection ends.

use std::collections::BTreeMap;

use baton_protocol::close::CloseCode;
use baton_protocol::frame::{Frame, Hello, Intent, PeerState};
use baton_protocol::id::{Instance, PeerId};
use baton_relay::Relay;
use bytes::Bytes;
use quinn::ConnectionError;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::peer::{PATIENCE, Peer, Who};
use crate::pool;

const ROUNDS: u64 = 1000;

/// Someone who watches the peer, and has written down nothing but the number of the last news.
struct Watcher {
    session: Peer,
    last: u64,
}

impl Watcher {
    async fn new(relay: &Relay, number: u8, peer: PeerId) -> Self {
        let (mut session, _) = Peer::attach(relay, &Who::new(number)).await;
        session.say(Frame::Watch { peer }).await;
        let mut watcher = Self { session, last: 0 };
        assert_eq!(watcher.news(peer).await, PeerState::Online);
        watcher
    }

    /// The next news, which must be the next in number too.
    async fn news(&mut self, of: PeerId) -> PeerState {
        loop {
            match self.session.next().await {
                Frame::Presence { sequence, peer, state } => {
                    assert_eq!((sequence, peer), (self.last + 1, of));
                    self.last = sequence;
                    return state;
                }
                Frame::RouteRefreshed { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

/// The HELLO of a peer that comes back: as the same process or another, with its ticket or without.
fn comes_back(random: &mut StdRng, who: &mut Who, ticket: Bytes) -> Hello {
    match random.random_range(0..3) {
        0 => who.hello(Intent::Fresh, Bytes::new(), Bytes::new()),
        1 => who.hello(Intent::Resume, Bytes::new(), ticket),
        _ => {
            who.instance = Instance::from_bytes(random.random());
            who.hello(Intent::Fresh, Bytes::new(), Bytes::new())
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn same_id_reconnect_against_watchers_in_a_thousand_rounds_each_sees_offline_then_online() {
    let relays = pool::linked(2).await;
    let mut random = StdRng::seed_from_u64(1);
    let mut who = Who::new(1);
    let peer = who.id();
    let (mut now, mut welcome) = Peer::attach(&relays[0], &who).await;
    pool::until("the sibling knows of it", || relays[1].status().mesh.peers == 1).await;
    // Two beside it, one at a sibling. The first sends to it as well.
    let mut watchers = vec![
        Watcher::new(&relays[0], 2, peer).await,
        Watcher::new(&relays[0], 3, peer).await,
        Watcher::new(&relays[1], 4, peer).await,
    ];
    watchers[0].session.open(16, peer).await;
    let mut ends: BTreeMap<Option<u64>, u64> = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut next = Peer::connect(relays[0].address()).await.unwrap();
        let hello = comes_back(&mut random, &mut who, welcome.ticket.clone());
        // The old one ends a moment before or after the new one registers: as many turns of this thread's tasks as are drawn.
        let lead = random.random_range(-12..=12_i32);
        let by_close = random.random();
        let come = async {
            turns(lead).await;
            next.hello(&who, hello).await;
        };
        let go = async {
            turns(-lead).await;
            match by_close {
                true => now.connection.close(0_u32.into(), b""),
                false => now.hang_up(),
            }
        };
        tokio::join!(come, go);
        let Frame::Welcome(welcomed) = next.next().await else { panic!("no WELCOME") };
        for watcher in &mut watchers {
            assert_eq!(watcher.news(peer).await, PeerState::Offline, "round {round}");
            assert_eq!(watcher.news(peer).await, PeerState::Online, "round {round}");
        }
        if !by_close {
            *ends.entry(told(&now).await).or_default() += 1;
        }
        pool::until("the old session is removed", || relays[0].status().sessions == 3).await;
        // Its cleanup is over, and its successor is still the one whom datagrams find.
        watchers[0].session.send_datagram(16, &round.to_be_bytes());
        assert_eq!(next.payload().await, &round.to_be_bytes()[..]);
        (now, welcome) = (next, *welcomed);
    }
    now.connection.close(0_u32.into(), b"");
    for watcher in &mut watchers {
        assert_eq!(watcher.news(peer).await, PeerState::Offline, "nothing came between");
        assert_eq!(watcher.last, 2 * ROUNDS + 2);
    }
    // The relay's word to the old connection says who was first.
    let heard = |codes: &[CloseCode]| -> u64 {
        codes.iter().filter_map(|code| ends.get(&Some(code.code().into()))).sum()
    };
    let old = heard(&[CloseCode::ProtocolViolation]);
    let new = heard(&[CloseCode::Moved, CloseCode::Superseded]);
    let unheard = ends.get(&None).copied().unwrap_or_default();
    assert!(old > 50 && new > 50, "the race was none: {ends:?}");
    assert_eq!(old + new + unheard, ends.values().sum::<u64>(), "{ends:?}");
    for relay in relays {
        relay.stop().await;
    }
}

/// The code that an old connection was closed with. `None`: where this thread had no processor for some time, the relay's close
/// and its answer to what was sent after it come together, and quinn reports the latter.
async fn told(old: &Peer) -> Option<u64> {
    match tokio::time::timeout(PATIENCE, old.connection.closed()).await.expect("an end") {
        ConnectionError::ApplicationClosed(close) => Some(close.error_code.into_inner()),
        ConnectionError::Reset => None,
        other => panic!("{other}"),
    }
}

/// Lets everything else that is ready run, so many times.
async fn turns(count: i32) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}
