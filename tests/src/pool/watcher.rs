//! An independent witness of the pods: how many serve (Ready, without the drain annotation, not being deleted), and
//! which were touched.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::task::JoinHandle;

use crate::cluster::is_ready;

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The fewest pods that served at a time.
    pub fewest_serving: usize,
    /// The most pods that there were at a time.
    pub most_pods: usize,
    /// Names of pods that had the drain annotation.
    pub flagged: BTreeSet<String>,
    /// Names of pods that were deleted.
    pub deleted: BTreeSet<String>,
}

/// Watches the pods of a pool.
#[derive(Debug)]
pub struct FloorWatcher {
    seen: Arc<Mutex<Option<Seen>>>,
    task: JoinHandle<()>,
}

impl FloorWatcher {
    pub(super) fn start(pods: Api<Pod>, pool: &str) -> Self {
        let seen = Arc::new(Mutex::new(None));
        let task = tokio::spawn(watch(pods, format!("baton.dev/pool={pool}"), seen.clone()));
        Self { seen, task }
    }

    /// Waits until it has seen the pods once.
    pub async fn started(&self) {
        while self.lock().is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Ends it, and says what it saw.
    ///
    /// # Panics
    /// When it saw nothing.
    #[must_use]
    pub fn stop(self) -> Seen {
        self.task.abort();
        let seen = self.lock().take();
        seen.expect("the watch has shown the pods")
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn watch(pods: Api<Pod>, selector: String, seen: Arc<Mutex<Option<Seen>>>) {
    let config = watcher::Config::default().labels(&selector);
    let mut events = pin!(watcher(pods, config).default_backoff());
    let mut known: BTreeMap<String, Pod> = BTreeMap::new();
    let mut gone = BTreeSet::new();
    let mut complete = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => {
                known.clear();
                complete = false;
            }
            Ok(watcher::Event::InitDone) => complete = true,
            Ok(watcher::Event::InitApply(pod) | watcher::Event::Apply(pod)) => {
                known.insert(pod.name_any(), pod);
            }
            Ok(watcher::Event::Delete(pod)) => {
                known.remove(&pod.name_any());
                gone.insert(pod.name_any());
            }
            Err(_) => continue,
        }
        if complete {
            let serving = known.values().filter(|pod| serves(pod)).count();
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let seen = seen.get_or_insert_with(|| Seen {
                fewest_serving: serving,
                most_pods: 0,
                flagged: BTreeSet::new(),
                deleted: BTreeSet::new(),
            });
            seen.fewest_serving = seen.fewest_serving.min(serving);
            seen.most_pods = seen.most_pods.max(known.len());
            let names = |is: fn(&Pod) -> bool| {
                known.values().filter(move |pod| is(pod)).map(|pod| pod.name_any())
            };
            seen.flagged.extend(names(is_flagged));
            seen.deleted.extend(names(is_deleted));
            // One that never ran goes without notice.
            seen.deleted.append(&mut gone);
        }
    }
}

fn serves(pod: &Pod) -> bool {
    is_ready(pod) && !is_deleted(pod) && !is_flagged(pod)
}

fn is_flagged(pod: &Pod) -> bool {
    pod.annotations().contains_key("baton.dev/drain")
}

fn is_deleted(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}
