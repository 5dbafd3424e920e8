//! Two ordinary clients who do no harm: one sends to the other, at a pace. What arrives is what a relay is good for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use baton_client::{Client, ClientConfig, Identity, Route};
use baton_tests::until::happens;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use crate::ground::Ground;

/// Bytes of each datagram.
const PAYLOAD: usize = 200;

/// How often some are sent: so few at a time that a relay has to take each for itself, nearly.
const BEAT: Duration = Duration::from_micros(250);

/// A sender that was held up does not make up for more than this: it would be a burst that nobody ordered.
const BEHIND: Duration = Duration::from_millis(20);

/// What is later than that is lost.
const LATE: Duration = Duration::from_secs(1);

const PATIENCE: Duration = Duration::from_secs(20);

/// See the [module](self).
pub(crate) struct Neighbour {
    one: Client,
    other: Client,
    route: Route,
    came: Arc<Came>,
    number: u64,
    _tasks: JoinSet<()>,
}

/// What arrived of the latest window.
#[derive(Default)]
struct Came {
    window: AtomicU64,
    count: AtomicU64,
    delays: Mutex<Option<Histogram<u64>>>,
}

/// What was sent in some time, and what arrived of it.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    pub(crate) length: Duration,
    pub(crate) sent: u64,
    pub(crate) came: u64,
    /// From sender to receiver.
    pub(crate) median: Duration,
    pub(crate) p99: Duration,
}

impl Window {
    /// The share that arrived.
    pub(crate) fn share(&self) -> f64 {
        self.came as f64 / self.sent.max(1) as f64
    }
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { length, sent, came, median, p99 } = self;
        let share = self.share() * 100.0;
        write!(
            f,
            "{share:.2} % ({came} of {sent} in {} s), delay p50 {:.1} ms, p99 {:.1} ms",
            length.as_secs(),
            median.as_secs_f64() * 1e3,
            p99.as_secs_f64() * 1e3
        )
    }
}

impl Neighbour {
    /// Both are attached, and datagrams come through.
    pub(crate) async fn settle(ground: &Ground) -> Self {
        let client = || async {
            let config = ClientConfig::new(Identity::ephemeral(), ground.profile("neighbours"));
            Client::connect(config).await.expect("a neighbour attaches")
        };
        let (one, other) = tokio::join!(client(), client());
        let mut route = one.route(other.peer()).unwrap();
        route.opened().await;
        let came = Arc::new(Came::default());
        let (counting, receiver) = (came.clone(), other.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let (_, payload) = receiver.datagram().await;
                counting.take(&payload);
            }
        });
        let neighbour = Self { one, other, route, came, number: 0, _tasks: tasks };
        neighbour.fit(ground).await;
        neighbour
    }

    /// Until the paths are known to be wide enough, datagrams go by streams, as few can.
    async fn fit(&self, ground: &Ground) {
        let by_streams = || ground.count("detours_total");
        let came = || self.came.count.load(Ordering::Relaxed);
        let fit = async {
            loop {
                let (before, streams) = (came(), by_streams());
                self.route
                    .send(&payload(self.number))
                    .expect("a client takes what has this length");
                let arrived = happens(LATE, BEAT, || came() > before).await;
                if arrived && by_streams() == streams {
                    return;
                }
            }
        };
        let fitted = tokio::time::timeout(PATIENCE, fit).await;
        assert!(fitted.is_ok(), "a neighbour's datagrams do not come through as they should");
    }

    /// The peers of both.
    pub(crate) fn peers(&self) -> [String; 2] {
        [&self.one, &self.other].map(|client| client.peer().to_string())
    }

    /// Sends so many in each second, for so long.
    pub(crate) async fn window(&mut self, per_second: f64, length: Duration) -> Window {
        self.number += 1;
        self.came.begin(self.number);
        let (route, number) = (self.route.clone(), self.number);
        let pacing = move || pace(&route, number, per_second, length);
        let sent = tokio::task::spawn_blocking(pacing).await.unwrap();
        let all = || self.came.count.load(Ordering::Relaxed) >= sent;
        happens(LATE, BEAT, all).await;
        let (came, delays) = self.came.end();
        let at = |quantile| Duration::from_micros(delays.value_at_quantile(quantile));
        Window { length, sent, came, median: at(0.5), p99: at(0.99) }
    }

    /// Both go.
    pub(crate) async fn leave(self) {
        self.one.close().await;
        self.other.close().await;
    }
}

impl Came {
    fn begin(&self, window: u64) {
        *self.delays() = Some(Histogram::new(3).unwrap());
        self.count.store(0, Ordering::Relaxed);
        self.window.store(window, Ordering::Release);
    }

    fn end(&self) -> (u64, Histogram<u64>) {
        let delays = self.delays().take().expect("it was begun");
        (self.count.load(Ordering::Relaxed), delays)
    }

    fn take(&self, payload: &[u8]) {
        let number = |at: usize| payload[at..].first_chunk().map_or(0, |n| u64::from_be_bytes(*n));
        if number(0) != self.window.load(Ordering::Acquire) {
            return;
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        if let Some(delays) = &mut *self.delays() {
            delays.record(now().saturating_sub(number(8)).max(1)).expect("it grows as it must");
        }
    }

    fn delays(&self) -> std::sync::MutexGuard<'_, Option<Histogram<u64>>> {
        self.delays.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends at this pace, and gives how many it sent. A thread that sleeps: timers of the runtime are its clients'.
fn pace(route: &Route, window: u64, per_second: f64, length: Duration) -> u64 {
    let (start, mut sent, mut owed, mut before) = (Instant::now(), 0, 0.0_f64, Duration::ZERO);
    loop {
        let passed = start.elapsed();
        if passed >= length {
            return sent;
        }
        owed += (passed - before).as_secs_f64() * per_second;
        owed = owed.min(BEHIND.as_secs_f64() * per_second);
        before = passed;
        while owed >= 1.0 {
            owed -= 1.0;
            route.send(&payload(window)).expect("a client takes what has this length");
            sent += 1;
        }
        std::thread::sleep(BEAT);
    }
}

/// Of which window it is, and when it was sent.
fn payload(window: u64) -> Vec<u8> {
    let mut payload = vec![0; PAYLOAD];
    payload[..8].copy_from_slice(&window.to_be_bytes());
    payload[8..16].copy_from_slice(&now().to_be_bytes());
    payload
}

/// Microseconds since this process asked for the first time.
fn now() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_micros() as u64
}
