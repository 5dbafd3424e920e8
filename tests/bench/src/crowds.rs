//! What sessions cost before they carry anything: handshakes, memory, and the order to go.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;

use crate::bare;
use crate::process;
use crate::sessions::{Door, Sessions};
use crate::subject::{Auth, Baton, Ground, Process};

/// After handshakes, until their last acknowledgements and probes are through: they are part of the cost.
const AFTERWARDS: Duration = Duration::from_millis(50);

/// Until idle sessions are idle: after discovery of the path's MTU, and what is said late in a handshake.
const SETTLE: Duration = Duration::from_secs(4);

/// How long it is looked at what they use while they are idle: in which each keeps alive once.
const IDLE: Duration = bare::KEEP_ALIVE;

/// Before each drain: the withdrawal of the one before is said to all at once.
const CALM: Duration = Duration::from_secs(1);

/// All sessions have acknowledged by then, or something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often the relay is asked how many have.
const ASK: Duration = Duration::from_millis(10);

/// The relays whose handshakes are compared.
struct Doors {
    bare: Process,
    open: Baton,
    token: Baton,
    /// Another build of the one with tokens.
    other: Option<Baton>,
}

/// CPU time of the relay for each handshake, in microseconds, window by window.
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    pub(crate) bare: Vec<f64>,
    pub(crate) open: Vec<f64>,
    pub(crate) token: Vec<f64>,
    /// Of another build, if there is one.
    pub(crate) other: Vec<f64>,
}

/// So many rounds of so many handshakes: with a bare loop, a relay, and another build of it if there is one.
pub(crate) async fn handshakes(
    ground: &Ground,
    beside: Option<&Path>,
    rounds: usize,
    count: usize,
) -> anyhow::Result<Handshakes> {
    Doors::start(ground, beside).await?.knock(ground, rounds, count).await
}

impl Doors {
    async fn start(ground: &Ground, beside: Option<&Path>) -> anyhow::Result<Self> {
        let other = match beside {
            Some(program) => {
                Some(Baton::start_program(program, ground, Auth::Token, "other").await?)
            }
            None => None,
        };
        Ok(Self {
            bare: Process::quinn_loop(ground)?,
            open: Baton::start(ground, Auth::Open, "open").await?,
            token: Baton::start(ground, Auth::Token, "token").await?,
            other,
        })
    }

    /// So many rounds of so many handshakes with each.
    async fn knock(
        &self,
        ground: &Ground,
        rounds: usize,
        count: usize,
    ) -> anyhow::Result<Handshakes> {
        let (bare, session) = (bare::config(ground)?, bare::session_config(ground)?);
        let token = || Door::Baton(Bytes::from(ground.token.clone()));
        let mut doors = vec![
            (&self.bare, &bare, Door::Bare),
            (&self.open.process, &session, Door::Baton(Bytes::new())),
            (&self.token.process, &session, token()),
        ];
        doors.extend(self.other.iter().map(|other| (&other.process, &session, token())));
        let mut costs = [const { Vec::new() }; 4];
        // The first round warms caches and allocators, and does not count.
        for round in 0..=rounds {
            for turn in 0..doors.len() {
                let which = (round + turn) % doors.len();
                let (process, config, door) = &doors[which];
                let before = process::cpu(process.pid())?;
                let sessions = Sessions::attach(count, process.address, config, door).await?;
                tokio::time::sleep(AFTERWARDS).await;
                let used = process::cpu(process.pid())?.saturating_sub(before);
                if round > 0 {
                    costs[which].push(used.as_secs_f64() * 1e6 / count as f64);
                }
                sessions.close().await;
            }
        }
        let [bare, open, token, other] = costs;
        Ok(Handshakes { bare, open, token, other })
    }
}

/// What idle sessions cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Idle {
    /// Bytes for each session.
    pub(crate) memory: f64,
    /// CPU time for all of them together: a share of one core.
    pub(crate) cpu: f64,
}

/// What many idle sessions showed.
#[derive(Debug)]
pub(crate) struct Crowd {
    pub(crate) sessions: usize,
    pub(crate) bare: Idle,
    pub(crate) baton: Idle,
    /// From the first GOAWAY that came to the last acknowledgement that the relay counted, drain by drain.
    pub(crate) acknowledged: Vec<Duration>,
    /// From the writing of the flag.
    pub(crate) flagged: Vec<Duration>,
}

/// So many sessions, with a bare loop and with a relay; and so many drains of the relay, each of which is withdrawn.
pub(crate) async fn crowd(ground: &Ground, count: usize, drains: usize) -> anyhow::Result<Crowd> {
    let bare = Process::quinn_loop(ground)?;
    let (sessions, idle_bare) = fill(&bare, &bare::config(ground)?, &Door::Bare, count).await?;
    sessions.close().await;
    drop(bare);

    let relay = Baton::start(ground, Auth::Token, "crowd").await?;
    let door = Door::Baton(Bytes::from(ground.token.clone()));
    let config = bare::session_config(ground)?;
    let (sessions, baton) = fill(&relay.process, &config, &door, count).await?;
    let (mut acknowledged, mut flagged) = (Vec::new(), Vec::new());
    for drain in 1..=drains {
        tokio::time::sleep(CALM).await;
        let (since_first, since_flag) = drain_once(&relay, &sessions, drain).await?;
        acknowledged.push(since_first);
        flagged.push(since_flag);
    }
    sessions.close().await;
    Ok(Crowd { sessions: count, bare: idle_bare, baton, acknowledged, flagged })
}

async fn fill(
    process: &Process,
    config: &quinn::ClientConfig,
    door: &Door,
    count: usize,
) -> anyhow::Result<(Sessions, Idle)> {
    // A few come and go first: what is made once is no session's.
    Sessions::attach(100, process.address, config, door).await?.close().await;
    let before = process::resident(process.pid())?;
    let sessions = Sessions::attach(count, process.address, config, door).await?;
    tokio::time::sleep(SETTLE).await;
    let used = process::resident(process.pid())?.saturating_sub(before);
    let (cpu_before, since) = (process::cpu(process.pid())?, Instant::now());
    tokio::time::sleep(IDLE).await;
    let cpu = process::cpu(process.pid())?.saturating_sub(cpu_before);
    let cpu = cpu.as_secs_f64() / since.elapsed().as_secs_f64();
    if sessions.alive() < count {
        bail!("of {count} sessions only {} are alive", sessions.alive());
    }
    Ok((sessions, Idle { memory: used as f64 / count as f64, cpu }))
}

async fn drain_once(
    relay: &Baton,
    sessions: &Sessions,
    number: usize,
) -> anyhow::Result<(Duration, Duration)> {
    let flag = format!(r#"{{"id": "bench-{number}", "graceSeconds": 600, "reason": "rollout"}}"#);
    let told = &sessions.told;
    let _ = told.take_first();
    let began = Instant::now();
    relay.set_flag(&flag)?;
    let ended = loop {
        let status = relay.status().await?;
        let drain = &status["drain"];
        let count = |name: &str| drain[name].as_u64().unwrap_or_default();
        if drain["id"] == format!("bench-{number}")
            && count("acked") == count("atFlag")
            && count("acked") > 0
        {
            break Instant::now();
        }
        if began.elapsed() > PATIENCE {
            bail!("not all sessions acknowledged within {} s: {drain}", PATIENCE.as_secs());
        }
        tokio::time::sleep(ASK).await;
    };
    let first = told.take_first().context("no session was told to go")?;
    relay.set_flag("")?;
    let expected = number * sessions.alive();
    while told.cancels.load(Ordering::Relaxed) < expected {
        if began.elapsed() > 2 * PATIENCE {
            let cancels = told.cancels.load(Ordering::Relaxed);
            bail!("{cancels} of {expected} withdrawals came");
        }
        tokio::time::sleep(ASK).await;
    }
    let goaways = told.goaways.load(Ordering::Relaxed);
    if goaways != expected {
        bail!("{goaways} GOAWAYs came, where {expected} must");
    }
    Ok((ended - first, ended - began))
}
