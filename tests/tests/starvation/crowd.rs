//! Receivers on slow paths, each with a sender that floods it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use baton_protocol::frame::Frame;
use baton_protocol::packet::FULL_MTU;
use baton_relay::Relay;
use baton_tests::outside::Outside;
use baton_tests::udp_proxy::{Both, Bottleneck, Conditions, UdpProxy};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::peer::{Peer, Who};
use crate::pool::flag;

/// Of a receiver's path.
pub(crate) const RTT: Duration = Duration::from_millis(50);

/// What may wait in it, as a share of what it takes in a second: 10 ms.
const QUEUE: u32 = 100;

/// How often a sender sends.
const BEAT: Duration = Duration::from_millis(5);

/// A packet on the path is at most this long, of which QUIC, the frame and the alias take these.
pub(crate) const MAX_PAYLOAD: usize = FULL_MTU as usize - 38 - 9 - 1;

/// How long receivers are flooded before they are told anything.
const WARM_UP: Duration = Duration::from_secs(2);

const ALIAS: u64 = 16;

/// One round: all are told to go, and then to stay after all.
pub(crate) struct Trial {
    /// How long it took until the relay had each receiver's acknowledgement, in their order; `None` if longer than there was
    /// patience for.
    pub(crate) acknowledged: Vec<Option<Duration>>,
}

impl Trial {
    /// Which receivers were later.
    pub(crate) fn later_than(&self, bound: Duration) -> impl Iterator<Item = usize> {
        let late =
            move |(_, time): &(usize, &Option<Duration>)| time.is_none_or(|time| time > bound);
        self.acknowledged.iter().enumerate().filter(late).map(|(which, _)| which)
    }
}

/// See the [module](self).
pub(crate) struct Crowd {
    receivers: Vec<usize>,
    received: Arc<AtomicU64>,
    heard: mpsc::Receiver<(usize, Instant)>,
    tasks: JoinSet<()>,
    _proxies: Vec<UdpProxy>,
}

impl Crowd {
    /// A receiver for each of these sizes, whose path takes `rate` bytes in a second, under a flood of datagrams of that size.
    pub(crate) async fn gather(relay: &Relay, payloads: &[usize], rate: u32) -> Self {
        relay.set_seeds(baton_relay::seeds::Seeds::default());
        relay.ready().await;
        let (hear, heard) = mpsc::channel(1024);
        let (mut tasks, mut proxies) = (JoinSet::new(), Vec::new());
        let received = Arc::new(AtomicU64::new(0));
        for (number, payload) in payloads.iter().enumerate() {
            let proxy = slow_path(relay, rate, number as u64).await;
            let receiver = Who::new(2 * number as u8 + 1);
            let (peer, _) = Peer::attach_at(proxy.address(), &receiver).await;
            proxies.push(proxy);
            let connection = peer.connection.clone();
            let received = received.clone();
            tasks.spawn(async move {
                while connection.read_datagram().await.is_ok() {
                    received.fetch_add(1, Ordering::Relaxed);
                }
            });
            tasks.spawn(listen(peer, number, hear.clone()));

            let (mut sender, _) = Peer::attach(relay, &Who::new(2 * number as u8 + 2)).await;
            sender.open(ALIAS, receiver.id()).await;
            let connection = sender.connection.clone();
            tasks.spawn(flood(connection, *payload, 2 * rate));
            // It is told to go like everybody.
            tasks.spawn(listen(sender, usize::MAX, hear.clone()));
        }
        sleep(WARM_UP).await;
        Self { receivers: payloads.to_vec(), received, heard, tasks, _proxies: proxies }
    }

    /// Tells everybody to go, waits until they know, or for so long, and tells them to stay.
    pub(crate) async fn trial(
        &mut self,
        relay: &Relay,
        number: usize,
        patience: Duration,
    ) -> Trial {
        while self.heard.try_recv().is_ok() {}
        let mut acknowledged = vec![None; self.receivers.len()];
        let begun = Instant::now();
        relay.set_flag(Some(flag(&format!("trial-{number}"), 600)));
        let all = async {
            while acknowledged.iter().any(Option::is_none) {
                let Some((which, at)) = self.heard.recv().await else { return };
                if let Some(acknowledged) = acknowledged.get_mut(which) {
                    // Its answer takes the way back, on which nothing is lost and nothing waits.
                    acknowledged.get_or_insert(at - begun + RTT / 2);
                }
            }
            let known = || {
                relay
                    .status()
                    .drain
                    .is_some_and(|drain| drain.acknowledged >= 2 * self.receivers.len() as u64)
            };
            while !known() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        if timeout(patience, all).await.is_ok()
            && let Some(slowest) = acknowledged.iter_mut().max()
        {
            // The one that decides it, by the relay's own count.
            *slowest = Some(begun.elapsed());
        }
        relay.set_flag(None);
        // Another moment of the flood for each round.
        sleep(Duration::from_millis(211) + Duration::from_millis(number as u64 * 17 % 100)).await;
        Trial { acknowledged }
    }

    /// Proves that there was more for the receivers than their paths take.
    pub(crate) fn assert_flooded(&self, relay: &Relay) {
        let series = r#"baton_relay_datagrams_total{direction="in"}"#;
        let metrics = relay.metrics();
        let came = metrics.lines().find_map(|line| line.strip_prefix(series)).unwrap();
        let came: f64 = came.trim().parse().unwrap();
        let received = self.received.load(Ordering::Relaxed);
        assert!(came > 1.5 * received as f64, "{came} datagrams, {received} received: no flood");
    }

    /// Everybody goes.
    pub(crate) async fn leave(mut self) {
        self.tasks.shutdown().await;
    }
}

async fn slow_path(relay: &Relay, rate: u32, seed: u64) -> UdpProxy {
    let up = Conditions { delay: RTT / 2, ..Conditions::default() };
    let queue = (rate / QUEUE) as usize;
    let bottleneck = Some(Bottleneck { bytes_per_second: rate, queue });
    let down = Conditions { bottleneck, max_size: Some(FULL_MTU.into()), ..up };
    let here = Arc::new(Outside::here());
    UdpProxy::start(here, relay.address(), Both { up, down }, seed).await.unwrap()
}

/// Acknowledges every GOAWAY, and says when it came.
async fn listen(mut peer: Peer, number: usize, hear: mpsc::Sender<(usize, Instant)>) {
    loop {
        match peer.read().await {
            Some(Frame::GoAway(goaway)) => {
                let _ = hear.send((number, Instant::now())).await;
                peer.say(Frame::GoAwayAck { sequence: goaway.sequence }).await;
            }
            Some(Frame::Sender { alias, .. }) => peer.say(Frame::SenderOk { alias }).await,
            Some(_) => {}
            None => return,
        }
    }
}

/// Sends so many bytes in a second.
async fn flood(connection: quinn::Connection, payload: usize, rate: u32) {
    let datagram = baton_protocol::datagram::aliased(ALIAS, &vec![0; payload]);
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut owed = 0.0;
    loop {
        beat.tick().await;
        owed += f64::from(rate) * BEAT.as_secs_f64();
        while owed > 0.0 {
            owed -= payload as f64;
            // A path that is not wide enough yet takes it later.
            let _ = connection.send_datagram(datagram.clone());
        }
    }
}
