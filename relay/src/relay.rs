//! A running relay, as a library.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use baton_protocol::close::CloseCode;
use baton_protocol::datagram::MAX_PAYLOAD;
use baton_protocol::id::RelayId;
use baton_protocol::liveness::{Timers, WrongOrder};
use quinn::{Endpoint, Incoming, Runtime as _, ServerConfig, TokioRuntime};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::futures::Notified;
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::admin::{Admin, AdminError};
use crate::auth::{Gate, Mode, Tickets};
use crate::directory::Directory;
use crate::door::{Door, Knock, MAX_JOINING, Verdict};
use crate::drain::{Flag, driver};
use crate::egress::{Budget, Guard};
use crate::keys::PoolKeys;
use crate::lines::Lines;
use crate::mesh::{IdentityError, Mesh};
use crate::metrics::Metrics;
use crate::paths::{ProbeKey, Responder};
use crate::rates::{self, Rates};
use crate::seeds::Seeds;
use crate::session;
use crate::sieve::{self, Arrivals};
use crate::socket::{self, PublicSocket};
use crate::status::{Reporter, Status};
use crate::transport::{self, TlsError};

/// How long connections may take to be closed when the relay stops.
const CLOSE_PATIENCE: Duration = Duration::from_secs(3);

/// What a relay needs to run.
#[derive(Debug)]
pub struct Config {
    /// The pod's UID, or any unique name outside Kubernetes. The relay id is made of it.
    pub name: String,
    /// `<namespace>/<pool>`: the audience of access tokens.
    pub pool: String,
    /// Where clients come in (UDP).
    pub listen: SocketAddr,
    /// Where siblings come in (UDP).
    pub mesh_listen: SocketAddr,
    /// Where siblings can reach this relay, if that is not `mesh_listen`. Port 0 stands for the bound one.
    pub mesh_advertise: Option<SocketAddr>,
    /// Where to answer operators and scrapers (TCP).
    pub admin_listen: SocketAddr,
    /// The pool's keys.
    pub keys: PoolKeys,
    /// Whom to let in.
    pub mode: Mode,
    /// Shown to clients.
    pub certificates: Vec<CertificateDer<'static>>,
    /// Of the first certificate.
    pub private_key: PrivateKeyDer<'static>,
    /// How often this relay was started (24 bits).
    pub epoch: u32,
    /// How many sessions it may have.
    pub max_sessions: usize,
    /// How much may pass.
    pub rates: Rates,
    /// The number of the pool's rules: tickets of earlier ones are good no more.
    pub policy_epoch: u32,
    /// How long nothing may be heard of a session. Clients are told, and these are for all of the pool's relays alike.
    pub timers: Timers,
}

/// What of a [`Config`] may be other while the relay runs.
#[derive(Debug)]
pub struct Reload {
    /// The pool's keys, for tickets. Links to siblings keep those that they began with.
    pub keys: PoolKeys,
    /// Whom to let in from now on. A session whose peer is on the allowlist no more ends.
    pub mode: Mode,
    /// Shown to clients that connect from now on.
    pub certificates: Vec<CertificateDer<'static>>,
    /// Of the first certificate.
    pub private_key: PrivateKeyDer<'static>,
    /// How many sessions it may have. If there are more, none ends for it.
    pub max_sessions: usize,
    /// How much may pass from now on.
    pub rates: Rates,
    /// The number of the pool's rules. Tickets of earlier ones are good no more; sessions stay.
    pub policy_epoch: u32,
}

/// A relay that cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The public endpoint's TLS.
    #[error("the public endpoint cannot be set up")]
    Tls(#[from] TlsError),
    /// The public socket.
    #[error("the public address {address} cannot be bound: choose another --listen")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Times in an order in which they make no sense: all that is wrong with them.
    #[error("the times cannot be used: {}", list(.0))]
    Timers(Vec<WrongOrder>),
    /// The mesh.
    #[error("the mesh cannot be set up")]
    Mesh(#[from] IdentityError),
    /// The admin port.
    #[error(transparent)]
    Admin(#[from] AdminError),
}

fn list(wrong: &[WrongOrder]) -> String {
    wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A running relay. It serves until [`Relay::stop`]; dropping it ends it without saying goodbye.
#[derive(Debug)]
pub struct Relay {
    directory: Arc<Directory>,
    shared: Arc<session::Shared>,
    reporter: Arc<Reporter>,
    address: SocketAddr,
    mesh_address: SocketAddr,
    admin_address: SocketAddr,
    flag: watch::Sender<Option<Flag>>,
    seeds: watch::Sender<Option<Seeds>>,
    stop: watch::Sender<bool>,
    /// `None` once it has been stopped.
    running: AsyncMutex<Option<Running>>,
}

/// What ends with a relay.
#[derive(Debug)]
struct Running {
    endpoint: Endpoint,
    admin: Admin,
    tasks: JoinSet<()>,
}

impl Relay {
    /// Starts a relay. It is ready once it has seeds ([`Relay::set_seeds`]) and is linked to them.
    pub fn start(config: Config) -> Result<Self, StartError> {
        Self::start_with(config, Guard::On)
    }

    /// Starts a relay whose sessions starve under a flood of datagrams. It is there for one test, which shows what the guard
    /// against that is good for; nothing that a relay's owner can configure leads here.
    #[doc(hidden)]
    pub fn start_unguarded(config: Config) -> Result<Self, StartError> {
        Self::start_with(config, Guard::Off)
    }

    fn start_with(config: Config, guard: Guard) -> Result<Self, StartError> {
        if let Mode::Open = config.mode {
            warn!(
                "this relay lets anyone in who holds a key: `--auth-mode open` is for tests and closed networks"
            );
        }
        let wrong = config.timers.faults();
        if !wrong.is_empty() {
            return Err(StartError::Timers(wrong));
        }
        let metrics = Arc::new(Metrics::new());
        let boot = rand::random();
        let me = RelayId::of_pod(&config.name);
        let directory = Arc::new(Directory::new(me, config.max_sessions, metrics.clone()));
        let lines = Arc::<Lines>::default();
        let mesh = Mesh::bind(
            config.mesh_listen,
            config.mesh_advertise,
            &config.keys,
            boot,
            directory.clone(),
            metrics.clone(),
            lines.clone(),
        )?;
        let server =
            transport::server(config.certificates, config.private_key, guard, config.timers.idle)?;
        let probe_key = Arc::new(ProbeKey::new(me, rand::random()));
        let (key, now) = (probe_key.clone(), Instant::now());
        let responder = Responder::new(key, directory.clone(), metrics.clone(), now);
        let bind = |source| StartError::Bind { address: config.listen, source };
        let socket = socket::bind(config.listen).map_err(bind)?;
        let arrivals: Arc<Arrivals> = Arc::default();
        let inner = socket.try_clone().and_then(|socket| TokioRuntime.wrap_udp_socket(socket));
        let public = PublicSocket::new(inner.map_err(bind)?, responder, arrivals.clone());
        let endpoint = public_endpoint(public, server).map_err(bind)?;
        let address = endpoint.local_addr().map_err(bind)?;
        let (ready, is_ready) = watch::channel(false);
        let reporter = Arc::new(Reporter {
            metrics: metrics.clone(),
            directory: directory.clone(),
            pod_uid: config.name,
            boot,
            ready: is_ready,
            flag_error: Mutex::default(),
        });
        let admin = Admin::start(config.admin_listen, reporter.clone())?;
        let tickets = Tickets { keys: config.keys.ticket_keys(), epoch: config.policy_epoch };
        let shared = Arc::new(session::Shared {
            directory: directory.clone(),
            metrics: metrics.clone(),
            lines,
            gate: Gate::new(config.mode, config.pool, tickets),
            epoch: config.epoch & 0x00ff_ffff,
            max_payload: MAX_PAYLOAD,
            guard,
            budget: Arc::new(Budget::new(config.rates.queued_bytes, metrics.queued.clone())),
            rates: rates::Current::new(config.rates),
            timers: config.timers,
            probe_key,
        });

        let (flag, flag_set) = watch::channel(None);
        let (seeds, seeds_set) = watch::channel(None);
        let (stop, stopped) = watch::channel(false);
        let mesh_address = mesh.address();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(shared.clone(), endpoint.clone(), stopped.clone()));
        tasks.spawn(session::rounds::run(shared.clone(), stopped.clone()));
        tasks.spawn(mesh.run(seeds_set, ready, stopped.clone()));
        tasks.spawn(sieve::run(socket, arrivals, metrics.clone(), stopped.clone()));
        tasks.spawn(driver::drive(directory.clone(), metrics, flag_set, stopped.clone()));
        tasks.spawn(keep_time(directory.clone(), stopped));
        info!(relay = %me, %address, mesh = %mesh_address, admin = %admin.address(), "started");
        Ok(Self {
            directory,
            shared,
            reporter,
            address,
            mesh_address,
            admin_address: admin.address(),
            flag,
            seeds,
            stop,
            running: AsyncMutex::new(Some(Running { endpoint, admin, tasks })),
        })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> RelayId {
        self.directory.me()
    }

    /// Where clients come in.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where siblings come in.
    #[must_use]
    pub fn mesh_address(&self) -> SocketAddr {
        self.mesh_address
    }

    /// Where it answers operators and scrapers.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Tells it its siblings.
    pub fn set_seeds(&self, seeds: Seeds) {
        self.seeds.send_replace(Some(seeds));
    }

    /// Sets the shutdown flag, or withdraws it. Nothing happens if it is set like that already.
    pub fn set_flag(&self, flag: Option<Flag>) {
        self.flag.send_if_modified(|current| {
            let modified = *current != flag;
            *current = flag;
            modified
        });
    }

    /// Goes on with these. No session ends for it, other than those of peers that an allowlist names no more. If there is an
    /// error nothing is changed.
    pub async fn reload(&self, reload: Reload) -> Result<(), TlsError> {
        let session::Shared { guard, timers, .. } = &*self.shared;
        let server =
            transport::server(reload.certificates, reload.private_key, *guard, timers.idle)?;
        // One that was stopped has nothing to go on with.
        if let Some(running) = self.running.lock().await.as_ref() {
            running.endpoint.set_server_config(Some(server));
        }
        let tickets = Tickets { keys: reload.keys.ticket_keys(), epoch: reload.policy_epoch };
        self.shared.gate.replace(reload.mode, tickets);
        self.directory.set_max_sessions(reload.max_sessions);
        self.shared.rates.set(reload.rates);
        self.shared.budget.set(reload.rates.queued_bytes);
        Ok(())
    }

    /// Counts a change of the files that configure it, and whether it could be used.
    pub(crate) fn count_reload(&self, usable: bool) {
        self.shared.metrics.reload(usable);
    }

    /// Its process must end: whoever is still here has `grace` to move. A drain that is on goes on, and has no longer than that.
    /// Without one, everyone is told at once and moves early: see [`Flag::front_loaded`].
    pub fn end_within(&self, grace: Duration) {
        let standing = self.directory.standing();
        let flag = self.flag.borrow().clone();
        self.set_flag(Some(match flag {
            Some(flag) => {
                // One that was set a moment ago has not begun.
                let report = standing.report.filter(|report| report.id == flag.id);
                let left = report.and_then(|report| report.left_over).unwrap_or(flag.grace());
                flag.capped(left, grace)
            }
            None => Flag::front_loaded(&self.reporter.pod_uid, grace, standing.sessions),
        }));
    }

    /// Says in the status why the flag cannot be read.
    pub fn set_flag_error(&self, error: Option<String>) {
        self.reporter.set_flag_error(error);
    }

    /// How it is.
    #[must_use]
    pub fn status(&self) -> Status {
        self.reporter.status()
    }

    /// Its metrics, in the text format of Prometheus.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.reporter.metrics.render()
    }

    /// Whether it is part of the mesh.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.reporter.ready.borrow()
    }

    /// Where the siblings that it is linked to listen.
    #[must_use]
    pub fn siblings(&self) -> Vec<SocketAddr> {
        self.directory.sibling_addresses()
    }

    /// Waits until something changes in its directory. What changes from this call on is not missed.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.directory.changed.notified()
    }

    /// Waits until it is part of the mesh.
    pub async fn ready(&self) {
        let mut ready = self.reporter.ready.clone();
        // The sender lives as long as the mesh; an error means that the relay ends.
        let _ = ready.wait_for(|ready| *ready).await;
    }

    /// Waits until the drain is over: no sessions, and every sibling knows. Without a flag it waits for one. A relay that is
    /// stopped is not waited for.
    pub async fn drained(&self) {
        let mut stopped = self.stop.subscribe();
        loop {
            let changed = self.directory.changed.notified();
            if self.directory.standing().drained {
                return;
            }
            tokio::select! {
                () = changed => {}
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
        }
    }

    /// It is about to be stopped, and only answers what still comes.
    pub fn set_lingering(&self) {
        self.directory.set_lingering();
    }

    /// Ends it: closes what sessions are left, says goodbye to the siblings, joins all tasks, and lets go of its ports. It
    /// may be called again, and by several at once: each call returns when the relay has ended. If a call is given up half way,
    /// the next one goes on.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let mut running = self.running.lock().await;
        if let Some(running) = running.as_mut() {
            running.end(&self.directory).await;
        }
        *running = None;
    }
}

impl Running {
    async fn end(&mut self, directory: &Directory) {
        directory.close_all(CloseCode::Shutdown);
        self.endpoint
            .close(CloseCode::Shutdown.code().into(), CloseCode::Shutdown.name().as_bytes());
        let joined = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(CLOSE_PATIENCE, joined).await.is_err() {
            warn!("tasks that did not end in time are cut off");
            self.tasks.shutdown().await;
        }
        if tokio::time::timeout(CLOSE_PATIENCE, self.endpoint.wait_idle()).await.is_err() {
            warn!("connections that did not close in time are left behind");
        }
        self.admin.stop().await;
    }
}

fn public_endpoint(socket: PublicSocket, server: ServerConfig) -> std::io::Result<Endpoint> {
    let (runtime, socket) = (Arc::new(socket.runtime()), Arc::new(socket));
    Endpoint::new_with_abstract_socket(transport::endpoint(), Some(server), socket, runtime)
}

/// Takes sessions in until the relay stops, and joins them all.
async fn accept(
    shared: Arc<session::Shared>,
    endpoint: Endpoint,
    mut stopped: watch::Receiver<bool>,
) {
    let mut sessions = JoinSet::new();
    let mut door = Door::new(shared.rates.get(), Instant::now());
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => break,
            Some(_) = sessions.join_next() => {}
            incoming = endpoint.accept() => {
                let Some(incoming) = incoming else { break };
                let connections = endpoint.open_connections();
                take_in(&shared, &mut door, &mut sessions, connections, incoming);
            }
        }
    }
    while sessions.join_next().await.is_some() {}
}

/// A first packet, where there are so many connections: serves it, or turns it away.
fn take_in(
    shared: &Arc<session::Shared>,
    door: &mut Door,
    sessions: &mut JoinSet<()>,
    connections: usize,
    incoming: Incoming,
) {
    let (directory, now) = (&shared.directory, Instant::now());
    door.set(shared.rates.get(), now);
    let knock = Knock {
        from: incoming.remote_address().ip(),
        is_proven: incoming.remote_address_validated(),
        may_prove: incoming.may_retry(),
        unfinished: connections.saturating_sub(directory.sessions()),
    };
    match door.knock(knock, now) {
        Verdict::Begin => {}
        Verdict::Prove => {
            shared.metrics.handshake("retry");
            let _ = incoming.retry();
            return;
        }
        Verdict::Away(limit) => {
            shared.metrics.turned_away(limit);
            return incoming.refuse();
        }
    }
    match directory.begin_joining(MAX_JOINING) {
        Some(joining) => {
            sessions.spawn(session::run(shared.clone(), incoming, joining));
        }
        // A first flight that starts after the flag is sent to another port, which may lead to another relay.
        None => {
            shared.metrics.handshake("turned_away");
            incoming.refuse();
        }
    }
}

/// Does what is due in the directory.
async fn keep_time(directory: Arc<Directory>, mut stopped: watch::Receiver<bool>) {
    loop {
        let changed = directory.changed.notified();
        // First of all: changes that never end must not keep it waiting.
        directory.handle_timeout();
        let due = directory.poll_timeout();
        let wait = due.map(|due| due.saturating_duration_since(Instant::now()));
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return,
            () = changed => {}
            () = tokio::time::sleep(wait.unwrap_or(Duration::from_secs(3600))) => {}
        }
    }
}
