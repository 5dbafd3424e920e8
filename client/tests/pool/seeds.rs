//! The drain of forwards when a client is closed: at once at zero, patient while something is active, and never after the
//! cancellation.

use std::time::{Duration, Instant};

use baton_client::{
    Allow, Client, ClientConfig, Event, InvalidOptions, OpenError, OptionFault, Options, Rejection,
    ServiceName, tcp,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::fleet::{Fleet, until};

const LONG: Duration = Duration::from_secs(60);

/// What a close may take beside its drain: words to peers and relay.
const WORDS: Duration = Duration::from_secs(4);

fn web() -> ServiceName {
    "web".parse().unwrap()
}

fn patient(config: ClientConfig, drain: Duration) -> ClientConfig {
    let mut options = Options::default();
    options.drain = drain;
    config.options(options)
}

/// A forward and an expose in this process, and both ends of one TCP connection through them.
struct Scene {
    fleet: Fleet,
    forwarding: Client,
    exposing: Client,
    near: TcpStream,
    far: TcpStream,
    address: std::net::SocketAddr,
    tasks: Vec<JoinHandle<()>>,
}

impl Scene {
    /// `drain` is the patience of the side that forwards.
    async fn start(drain: Duration) -> Self {
        let fleet = Fleet::start(1).await;
        let forwarding = patient(fleet.config(1, &[0]), drain);
        let forwarding = Client::connect(forwarding).await.unwrap();
        let exposing = fleet.client(2, &[0]).await;
        let (service, outer) = (listen().await, listen().await);
        let (to, address) = (service.local_addr().unwrap(), outer.local_addr().unwrap());
        exposing.offer(web(), Allow::Group);
        let (one, other, peer) = (exposing.clone(), forwarding.clone(), exposing.peer());
        let tasks = vec![
            tokio::spawn(async move { tcp::expose(&one, to).await }),
            tokio::spawn(async move { tcp::forward(&other, outer, peer, &web()).await }),
        ];
        let near = TcpStream::connect(address).await.unwrap();
        let (far, _) = service.accept().await.unwrap();
        until("the connection is held at both ends", || {
            [&forwarding, &exposing].iter().all(|client| client.status().active == 1)
        })
        .await;
        Self { fleet, forwarding, exposing, near, far, address, tasks }
    }

    /// A line from one end arrives at the other.
    async fn carries(&mut self) {
        let Self { near, far, .. } = self;
        hello(near, far).await;
        hello(far, near).await;
    }

    async fn end(self) {
        let Self { fleet, forwarding, exposing, near, far, tasks, .. } = self;
        drop((near, far));
        forwarding.close().await;
        exposing.close().await;
        // Forward and expose end by themselves once their client is closed.
        for task in tasks {
            tokio::time::timeout(WORDS, task).await.unwrap().unwrap();
        }
        fleet.stop().await;
    }
}

async fn hello(from: &mut TcpStream, to: &mut TcpStream) {
    let mut bytes = [0; 5];
    from.write_all(b"hello").await.unwrap();
    to.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"hello");
}

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

fn closing(client: &Client) -> JoinHandle<Duration> {
    let client = client.clone();
    tokio::spawn(async move {
        let began = Instant::now();
        client.close().await;
        began.elapsed()
    })
}

#[tokio::test]
async fn the_drain_of_forwards_returns_at_once_at_zero() {
    let mut scene = Scene::start(Duration::ZERO).await;
    scene.carries().await;
    let took = closing(&scene.forwarding).await.unwrap();
    println!("a close without patience, with an active forward: {took:?}");
    assert!(took < WORDS, "{took:?}");
    // It was cut, and that does not look like an end.
    let broken = scene.near.read(&mut [0]).await.unwrap_err();
    assert_eq!(broken.kind(), std::io::ErrorKind::ConnectionReset);
    scene.end().await;
}

#[tokio::test]
async fn the_drain_of_forwards_returns_at_once_when_none_is_active() {
    let mut scene = Scene::start(LONG).await;
    scene.carries().await;
    // A connection that was active and has ended counts no more.
    scene.near.shutdown().await.unwrap();
    scene.far.shutdown().await.unwrap();
    until("nothing is held", || scene.forwarding.status().active == 0).await;
    let took = closing(&scene.forwarding).await.unwrap();
    println!("a close with a minute's patience, without an active forward: {took:?}");
    assert!(took < WORDS, "{took:?}");
    scene.end().await;
}

#[tokio::test]
async fn the_drain_of_forwards_waits_for_active_ones() {
    let mut scene = Scene::start(LONG).await;
    let close = closing(&scene.forwarding);
    scene.forwarding.draining().await;
    // Active ones go on, in both directions, as if nothing were.
    for _ in 0..20 {
        scene.carries().await;
    }
    assert!(!close.is_finished());
    // New ones are refused at once: at the port, and by the library.
    until("the port is shut", || std::net::TcpStream::connect(scene.address).is_err()).await;
    assert!(scene.forwarding.hold().is_none());
    let refused = scene.forwarding.open(scene.exposing.peer(), &web()).await.unwrap_err();
    assert!(matches!(refused, OpenError::Closed), "{refused}");
    // The close ends with the last of them, long before its patience.
    scene.near.write_all(b"last").await.unwrap();
    scene.near.shutdown().await.unwrap();
    let mut rest = Vec::new();
    scene.far.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"last", "what was sent during the drain came whole, with its end");
    scene.far.shutdown().await.unwrap();
    let took = tokio::time::timeout(WORDS, close).await.unwrap().unwrap();
    println!("a close that waited for an active forward: {took:?}");
    scene.end().await;
}

#[tokio::test]
async fn the_drain_of_forwards_times_out() {
    let patience = Duration::from_secs(1);
    let mut scene = Scene::start(patience).await;
    let close = closing(&scene.forwarding);
    scene.carries().await;
    let took = tokio::time::timeout(patience + WORDS, close).await.unwrap().unwrap();
    println!("a close with a second's patience, with an active forward: {took:?}");
    assert!(took >= patience, "{took:?}");
    let broken = scene.near.read(&mut [0]).await.unwrap_err();
    assert_eq!(broken.kind(), std::io::ErrorKind::ConnectionReset);
    scene.end().await;
}

#[tokio::test]
async fn the_drain_of_forwards_is_called_before_cancellation() {
    let mut scene = Scene::start(LONG).await;
    let (mut ours, mut theirs) = (scene.forwarding.events(), scene.exposing.events());
    let mut watcher = scene.exposing.watch(scene.forwarding.peer()).await.unwrap();
    assert_eq!(watcher.next().await, Some(baton_client::PeerState::Online));
    let close = closing(&scene.forwarding);
    // First the word, to the owner and to the other side...
    assert_eq!(ours.next().await, Some(Event::Closing));
    let peer = scene.forwarding.peer();
    let told = async { while theirs.next().await.unwrap() != (Event::PeerClosing { peer }) {} };
    tokio::time::timeout(WORDS, told).await.unwrap();
    // ...which opens nothing new there...
    scene.forwarding.offer(web(), Allow::Group);
    let refused = scene.exposing.open(peer, &web()).await.unwrap_err();
    assert!(matches!(refused, OpenError::Rejected(Rejection::Closing)), "{refused}");
    // ...then the drain, during which the connection, the session and the connection between the peers are alive...
    scene.carries().await;
    assert!(scene.forwarding.status().relay.is_some());
    assert!(scene.exposing.ping(peer).await.is_ok());
    assert!(!close.is_finished());
    // ...and only after it the end.
    scene.near.shutdown().await.unwrap();
    scene.far.shutdown().await.unwrap();
    assert_eq!(watcher.next().await, Some(baton_client::PeerState::Offline));
    close.await.unwrap();
    assert_eq!(scene.forwarding.status().active, 0);
    scene.end().await;
}

#[tokio::test]
async fn a_close_can_be_asked_for_twice_and_both_wait_for_the_end() {
    let mut scene = Scene::start(LONG).await;
    let (one, other) = (closing(&scene.forwarding), closing(&scene.forwarding));
    scene.forwarding.draining().await;
    scene.carries().await;
    assert!(!one.is_finished() && !other.is_finished());
    scene.near.shutdown().await.unwrap();
    scene.far.shutdown().await.unwrap();
    one.await.unwrap();
    other.await.unwrap();
    scene.end().await;
}

/// What is wrong with these options and this timing.
async fn faults(fleet: &Fleet, change: impl FnOnce(&mut ClientConfig)) -> Vec<OptionFault> {
    let mut config = fleet.config(1, &[0]);
    change(&mut config);
    match config.validate() {
        Ok(()) => Vec::new(),
        Err(InvalidOptions(faults)) => {
            // And it is refused before anything is sent.
            let error = Client::connect(config).await.unwrap_err();
            assert!(matches!(error, baton_client::ConnectError::Options(_)), "{error}");
            faults
        }
    }
}

/// Negative ones cannot be said to the library; the command refuses them (`command::time`, `command::run`).
#[tokio::test]
async fn zero_and_negative_intervals_are_refused_or_safe() {
    let fleet = Fleet::start(1).await;
    let zero = Duration::ZERO;
    assert_eq!(faults(&fleet, |_| ()).await, []);
    // Refused: what would mean without a pause, all at once.
    let all = faults(&fleet, |config| {
        let options = &mut config.options;
        (options.keep_alive, options.unanswered, options.give_up, options.idle) =
            (zero, zero, zero, zero);
        let timing = &mut config.timing;
        (timing.dial, timing.answer, timing.backoff, timing.max_backoff) = (zero, zero, zero, zero);
        config.attach_timeout = Some(zero);
    })
    .await;
    assert_eq!(all.len(), 9, "{all:?}");
    assert!(all.iter().all(|fault| matches!(fault, OptionFault::Zero(_))), "{all:?}");
    // Refused: absurdly long ones, and those in the wrong order.
    let long = faults(&fleet, |config| {
        config.options.drain = Duration::MAX;
        config.timing.linger = Duration::MAX;
    })
    .await;
    assert_eq!(long.len(), 2, "{long:?}");
    let order = faults(&fleet, |config| {
        config.options.keep_alive = Duration::from_secs(30);
        config.options.idle = Duration::from_secs(44);
        config.timing.backoff = Duration::from_secs(60);
    })
    .await;
    assert_eq!(order.len(), 3, "{order:?}");
    // Safe: what means at once, or not at all.
    let mut config = patient(fleet.config(1, &[0]), zero);
    (config.timing.linger, config.timing.quick_goaway, config.timing.move_delay) =
        (zero, zero, zero);
    let client = Client::connect(config).await.unwrap();
    let _hold = client.hold().unwrap();
    assert!(closing(&client).await.unwrap() < WORDS);
    fleet.stop().await;
}
