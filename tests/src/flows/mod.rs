//! Many UDP flows to test pods, and which pod answered each of them when.

mod history;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

pub use self::history::{FlowHistory, Move};
use crate::outside::Outside;
use crate::until::happens;

/// How often each flow sends.
pub const PERIOD: Duration = Duration::from_millis(40);

/// Flows that go on in the background until this is dropped.
#[derive(Debug)]
pub struct Flows {
    histories: Vec<Arc<Mutex<FlowHistory>>>,
    _tasks: JoinSet<()>,
}

impl Flows {
    /// Starts `count` flows from `outside` to `target`, each from a port of its own, and waits until
    /// every one has had an answer.
    ///
    /// # Panics
    /// When a flow has no answer within a deadline.
    pub async fn start(outside: &Outside, target: SocketAddr, count: usize) -> Self {
        let mut histories = Vec::new();
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            let socket = outside.udp().await.expect("a UDP socket");
            socket.connect(target).await.expect("a UDP socket takes a target");
            let history = Arc::new(Mutex::new(FlowHistory::default()));
            histories.push(Arc::clone(&history));
            tasks.spawn(flow(socket, history));
        }
        let flows = Self { histories, _tasks: tasks };
        let all = || flows.histories().iter().all(|history| history.pod().is_some());
        flows.until("every flow is answered", Duration::from_secs(20), all).await;
        flows
    }

    /// A copy of each flow's history up to now.
    #[must_use]
    pub fn histories(&self) -> Vec<FlowHistory> {
        self.histories
            .iter()
            .map(|h| h.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .collect()
    }

    /// The flows whose last answer came from `pod`, by number.
    #[must_use]
    pub fn at(&self, pod: &str) -> Vec<usize> {
        let histories = self.histories();
        (0..histories.len()).filter(|&flow| histories[flow].pod() == Some(pod)).collect()
    }

    /// Waits until every one of these flows had an answer that was asked for after now; then what
    /// happened before now has shown.
    ///
    /// # Panics
    /// When that does not happen within a deadline.
    pub async fn settle(&self, flows: &[usize]) {
        let now = Instant::now();
        let answered = || {
            let histories = self.histories();
            flows.iter().all(|&flow| histories[flow].last_answered_ask() > Some(now))
        };
        self.until("the flows are answered again", Duration::from_secs(30), answered).await;
    }

    /// Waits until `done` says so.
    ///
    /// # Panics
    /// When it does not in time, with the pod that each flow is at.
    pub async fn until(&self, what: &str, deadline: Duration, done: impl Fn() -> bool) {
        let happened = happens(deadline, PERIOD, done).await;
        assert!(
            happened,
            "not seen that {what} within {deadline:?}; flows are at {:?}",
            self.pods()
        );
    }

    fn pods(&self) -> Vec<Option<String>> {
        self.histories().iter().map(|history| history.pod().map(str::to_owned)).collect()
    }
}

/// Asks at every tick and takes note of every answer.
async fn flow(socket: UdpSocket, history: Arc<Mutex<FlowHistory>>) {
    let history = || history.lock().unwrap_or_else(PoisonError::into_inner);
    let mut tick = interval(PERIOD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut buffer = [0; 256];
    loop {
        tokio::select! {
            _ = tick.tick() => {
                let number = history().ask(Instant::now());
                // ECONNREFUSED reports an earlier datagram; the flow goes on.
                let _ = socket.send(&number.to_be_bytes()).await;
            }
            received = socket.recv(&mut buffer) => {
                let Ok(length) = received else { continue };
                if let Some(echo) = Echo::parse(&buffer[..length]) {
                    history().answer(echo.number, echo.pod, Instant::now());
                }
            }
        }
    }
}

/// What a test pod answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Echo<'a> {
    number: u64,
    pod: &'a str,
    /// Where the question came from, as the pod saw it.
    seen: SocketAddr,
}

impl<'a> Echo<'a> {
    /// Eight bytes of number, a space, the pod's name, a space, the address.
    fn parse(answer: &'a [u8]) -> Option<Self> {
        let (number, rest) = answer.split_first_chunk()?;
        let text = std::str::from_utf8(rest.strip_prefix(b" ")?).ok()?;
        let (pod, seen) = text.split_once(' ')?;
        Some(Self { number: u64::from_be_bytes(*number), pod, seen: seen.parse().ok()? })
    }
}

/// After this long without any answer, none will come.
const LATEST_ANSWER: Duration = Duration::from_secs(1);

/// A flow that asks only when it is told to.
#[derive(Debug)]
pub struct Probe {
    socket: UdpSocket,
    asked: u64,
}

/// One answer to a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The pod that answered.
    pub pod: String,
    /// Where the question came from, as the pod saw it.
    pub seen: SocketAddr,
    /// How long it took.
    pub took: Duration,
}

impl Probe {
    /// A flow of its own from `outside` to `target`.
    ///
    /// # Panics
    /// When there is no socket to be had.
    pub async fn new(outside: &Outside, target: SocketAddr) -> Self {
        let socket = outside.udp().await.expect("a UDP socket");
        socket.connect(target).await.expect("a UDP socket takes a target");
        Self { socket, asked: 0 }
    }

    /// Asks once; `None`: no answer in time.
    pub async fn ask_once(&mut self, patience: Duration) -> Option<Answer> {
        let asked = Instant::now();
        let number = self.asked;
        self.asked += 1;
        let _ = self.socket.send(&number.to_be_bytes()).await;
        let mut buffer = [0; 256];
        let answered = async {
            loop {
                // ECONNREFUSED reports a datagram before; late answers are to questions before.
                let Ok(length) = self.socket.recv(&mut buffer).await else { continue };
                if let Some(echo) = Echo::parse(&buffer[..length])
                    && echo.number == number
                {
                    let (pod, took) = (echo.pod.to_owned(), asked.elapsed());
                    return Answer { pod, seen: echo.seen, took };
                }
            }
        };
        timeout(patience, answered).await.ok()
    }

    /// Asks this many times, a few milliseconds apart, and returns how many questions were answered,
    /// however late: what is slow is not lost.
    pub async fn count_answers(&mut self, questions: u64) -> u64 {
        let first = self.asked;
        self.asked += questions;
        let mut unasked = first..self.asked;
        let mut unanswered: BTreeSet<u64> = unasked.clone().collect();
        let mut tick = interval(Duration::from_millis(5));
        let mut buffer = [0; 256];
        loop {
            tokio::select! {
                _ = tick.tick(), if !unasked.is_empty() => {
                    if let Some(number) = unasked.next() {
                        let _ = self.socket.send(&number.to_be_bytes()).await;
                    }
                }
                received = self.socket.recv(&mut buffer) => {
                    if let Some(echo) = received.ok().and_then(|l| Echo::parse(&buffer[..l])) {
                        unanswered.remove(&echo.number);
                    }
                }
                () = sleep(LATEST_ANSWER), if unasked.is_empty() => {
                    return questions - unanswered.len() as u64;
                }
            }
        }
    }

    /// Asks until there is an answer.
    ///
    /// # Panics
    /// When there is none within some seconds.
    pub async fn ask(&mut self) -> Answer {
        for _ in 0..50 {
            if let Some(answer) = self.ask_once(Duration::from_millis(100)).await {
                return answer;
            }
        }
        panic!("a flow is not answered: {:?}", self.socket);
    }
}

/// Opens new flows, one after another, until one is answered by `wanted`; returns those that it took.
///
/// Whoever goes on to open new flows holds them: a port that is used again within two minutes is no new flow to connection
/// tracking, but goes where the one before it went.
///
/// # Panics
/// When none is within a deadline.
pub async fn until_new_flow_reaches(
    outside: &Outside,
    target: SocketAddr,
    wanted: &str,
) -> Vec<Probe> {
    let deadline = Duration::from_secs(30);
    let mut probes = Vec::new();
    let reached = async {
        loop {
            let mut probe = Probe::new(outside, target).await;
            let answer = probe.ask().await;
            probes.push(probe);
            if answer.pod == wanted {
                return probes;
            }
            sleep(PERIOD).await;
        }
    };
    let reached = timeout(deadline, reached).await;
    reached.unwrap_or_else(|_| panic!("no new flow to {target} reaches {wanted} in {deadline:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn late_answers_count_and_missing_ones_do_not() {
        let pod = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(pod.local_addr().unwrap()).await.unwrap();
        let answering = tokio::spawn(async move {
            let mut buffer = [0; 8];
            for number in 0_u64.. {
                let (length, from) = pod.recv_from(&mut buffer).await.unwrap();
                let echo = [&buffer[..length], b" pod 10.0.0.1:1"].concat();
                // Every third is lost; the rest comes late, and twice.
                if number % 3 != 0 {
                    sleep(Duration::from_millis(10)).await;
                    pod.send_to(&echo, from).await.unwrap();
                    pod.send_to(&echo, from).await.unwrap();
                }
            }
        });
        let mut probe = Probe { socket, asked: 7 };
        assert_eq!(probe.count_answers(30).await, 20);
        answering.abort();
    }

    #[test]
    fn an_echo_is_what_the_pod_writes() {
        let answer = [&7_u64.to_be_bytes()[..], b" pod-n1 10.0.0.1:1234"].concat();
        let seen = "10.0.0.1:1234".parse().unwrap();
        assert_eq!(Echo::parse(&answer), Some(Echo { number: 7, pod: "pod-n1", seen }));
        assert_eq!(Echo::parse(&answer[..20]), None);
        assert_eq!(Echo::parse(b"short"), None);
    }
}
