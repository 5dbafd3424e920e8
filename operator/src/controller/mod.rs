//! The control loop: watches that wake it, and the turn of one pool.
//!
//! A turn plans twice. The first plan is made from what the watches show, which costs nothing and may be
//! old. If it wants anything done, everything that matters is read anew and planned for again, and only
//! that plan is carried out: so an operator never acts on a state from before its own last act, and a
//! quiet pool costs the API server nothing.

mod endings;
mod look;
mod telling;
mod watches;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use baton_crds::RelayPool;
use futures::StreamExt as _;
use futures::future::{BoxFuture, Shared};
use kube::Client;
use kube::ResourceExt as _;
use kube::runtime::controller::Action as Next;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;

use self::look::{Look, LookError};
use self::watches::{Seen, Watches};
use crate::admin::Pending;
use crate::apply::{Applier, ApplyError};
use crate::clock;
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::plan::action::{Action, Event, Plan, Requeue};
use crate::plan::plan;
use crate::plan::snapshot::Snapshot;

/// Looked at anew even if nothing happens: an event may have been missed.
const LATER: Duration = Duration::from_secs(15);
/// While something drains.
const SOON: Duration = Duration::from_secs(1);
/// A turn that hangs is given up: its steps are harmless when they are done twice.
const PATIENCE: Duration = Duration::from_secs(60);
/// After the world turned out to be another.
const AGAIN: Duration = Duration::from_millis(200);
/// After a failure, doubled each time.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
const LAST_BACKOFF: Duration = Duration::from_secs(30);

/// Ends everything.
pub type Shutdown = Shared<BoxFuture<'static, ()>>;

/// Why a turn failed.
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    /// The world could not be seen.
    #[error("looking")]
    Look(#[from] LookError),
    /// A step failed.
    #[error("acting")]
    Apply(#[from] ApplyError),
    /// The API server does not answer.
    #[error("no end within {PATIENCE:?}")]
    Timeout,
}

struct Context {
    client: Client,
    watches: Watches,
    seen: Seen,
    recorder: Recorder,
    metrics: Metrics,
    /// By the pools' UIDs.
    memories: Mutex<BTreeMap<String, Memory>>,
}

/// Looks after the pools of one namespace, or of all, until `shutdown`.
pub async fn run(
    client: Client,
    namespace: Option<String>,
    metrics: Metrics,
    pending: Pending,
    shutdown: Shutdown,
) {
    let (watches, controller) = watches::start(&client, namespace.as_deref());
    pending.begin();
    let seen = watches.seen();
    let context = Arc::new(Context {
        recorder: Recorder::new(client.clone(), Reporter::from("baton-operator")),
        client,
        watches,
        seen: seen.clone(),
        metrics,
        memories: Mutex::default(),
    });
    let ready = async move {
        seen.await;
        pending.end();
    };
    // kube's controller waits for its pools before it takes notice of a shutdown. As long as it does, no turn is under way.
    let (pools, told) = (context.clone(), shutdown.clone());
    let before_the_first_turn = async move {
        tokio::select! {
            () = told => {}
            _ = pools.watches.pools.wait_until_ready() => std::future::pending().await,
        }
    };
    let turns = controller
        .graceful_shutdown_on(shutdown)
        .run(turn, after_failure, context)
        .for_each(|result| async move {
            if let Err(error) = result {
                // Failures of turns are told where they happen; these are of the watches.
                tracing::debug!(%error, "watching");
            }
        });
    // The watches move only while the controller is polled, and what they have not seen when it ends they never will.
    let ready = async {
        ready.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = turns => {}
        () = ready => {}
        () = before_the_first_turn => {}
    }
}

async fn turn(object: Arc<RelayPool>, context: Arc<Context>) -> Result<Next, TurnError> {
    let mut memory = context.remember(&object);
    let turn = tokio::time::timeout(PATIENCE, context.turn(&object, &mut memory));
    let result = turn.await.unwrap_or(Err(TurnError::Timeout));
    match &result {
        Ok(_) => memory.failures = 0,
        Err(error) => {
            memory.failures += 1;
            if let TurnError::Apply(failed) = error
                && let Some(event) = failed.event()
            {
                context.tell(&object, &event).await;
            }
        }
    }
    context.keep(&object, memory);
    result
}

fn after_failure(object: Arc<RelayPool>, error: &TurnError, context: Arc<Context>) -> Next {
    let pool = ObjectRef::from_obj(object.as_ref());
    if let TurnError::Apply(ApplyError::Changed { step }) = error {
        tracing::debug!(%pool, step, "it has changed meanwhile");
        context.metrics.reconciled("changed");
        return Next::requeue(AGAIN);
    }
    context.metrics.reconciled("error");
    let failures = context.remember(&object).failures.clamp(1, 10);
    let backoff = (FIRST_BACKOFF * 2_u32.pow(failures - 1)).min(LAST_BACKOFF);
    tracing::warn!(%pool, error = %Chain(error), ?backoff, "a turn failed");
    Next::requeue(backoff)
}

impl Context {
    async fn turn(&self, object: &RelayPool, memory: &mut Memory) -> Result<Next, TurnError> {
        self.seen.clone().await;
        let look = Look { client: &self.client, watches: &self.watches };
        let snapshot = look.cached(object, memory).await?;
        let first = plan(&snapshot);
        if first.status.is_none() && first.actions.is_empty() {
            self.observe(object, &snapshot);
            self.metrics.reconciled("ok");
            return Ok(next(&snapshot, &first));
        }
        let Some((object, snapshot)) = look.fresh(object, memory).await? else {
            // It is gone.
            return Ok(Next::await_change());
        };
        let plan = plan(&snapshot);
        self.carry_out(&object, &snapshot, &plan, memory).await?;
        self.observe(&object, &snapshot);
        self.metrics.reconciled("ok");
        let acted = plan.status.is_some() || !plan.actions.is_empty();
        // Not everything that was done wakes a watch.
        Ok(if acted { Next::requeue(AGAIN) } else { next(&snapshot, &plan) })
    }

    async fn carry_out(
        &self,
        object: &RelayPool,
        snapshot: &Snapshot,
        plan: &Plan,
        memory: &mut Memory,
    ) -> Result<(), TurnError> {
        let applier = Applier::new(&self.client, object, &snapshot.pool);
        if let Some(status) = &plan.status {
            applier.write_status(status).await?;
            memory.numbers_written = Some(snapshot.now);
            for outcome in &plan.outcomes {
                self.metrics.drained(&snapshot.pool.namespace, &snapshot.pool.name, outcome);
            }
            for event in &plan.events {
                self.tell(object, event).await;
            }
        }
        for action in &plan.actions {
            applier.apply(action).await?;
            tracing::info!(pool = %ObjectRef::from_obj(object), "{action}");
            self.metrics.acted(action);
            if let Action::CreateSecret(_) = action {
                memory.forget_secrets();
            }
            if let Some(event) = action.event() {
                self.tell(object, &event).await;
            }
            if *action == Action::ReleasePool {
                self.metrics.forget(&snapshot.pool.namespace, &snapshot.pool.name);
            }
        }
        Ok(())
    }

    /// An Event that cannot be made never fails anything.
    async fn tell(&self, object: &RelayPool, event: &Event) {
        let reference = kube::Resource::object_ref(object, &());
        if let Err(error) = self.recorder.publish(&telling::told(event), &reference).await {
            tracing::debug!(%error, reason = event.reason, "cannot make an Event");
        }
    }

    fn observe(&self, object: &RelayPool, snapshot: &Snapshot) {
        let pool = &snapshot.pool;
        if pool.deleted_at.is_none() {
            let status = object.status.clone().unwrap_or_default();
            self.metrics.observe(&pool.namespace, &pool.name, pool.spec.replicas, &status);
        }
    }

    fn remember(&self, object: &RelayPool) -> Memory {
        let memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        memories.get(&object.uid().unwrap_or_default()).cloned().unwrap_or_default()
    }

    /// One turn of a pool at a time: nobody else has written to its memory meanwhile. Pools that are gone
    /// are forgotten.
    fn keep(&self, object: &RelayPool, memory: Memory) {
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        memories.insert(object.uid().unwrap_or_default(), memory);
        let pools = self.watches.pools.state();
        if memories.len() > pools.len() {
            memories
                .retain(|uid, _| pools.iter().any(|pool| pool.metadata.uid.as_ref() == Some(uid)));
        }
    }
}

fn next(snapshot: &Snapshot, plan: &Plan) -> Next {
    match plan.requeue {
        Requeue::Soon => Next::requeue(SOON),
        Requeue::Later => Next::requeue(LATER),
        Requeue::At(time) => {
            let wait = time.as_millisecond() - clock::now().max(snapshot.now).as_millisecond();
            let wait = Duration::from_millis(u64::try_from(wait).unwrap_or_default());
            Next::requeue(wait.clamp(AGAIN, LATER))
        }
    }
}

/// An error with its causes.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
