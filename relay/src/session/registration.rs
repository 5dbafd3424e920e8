//! A session's place in the directory: it is given back whatever happens to the task that holds it.

use std::sync::Arc;

use baton_protocol::id::PeerId;
use baton_protocol::session::Outcome;

use super::Shared;
use super::handle::Handle;

/// See the [module](self). It counts its session in the gauge of its phase, too.
#[derive(Debug)]
pub(super) struct Registration {
    pub(super) handle: Arc<Handle>,
    shared: Arc<Shared>,
    phase: &'static str,
    removed: bool,
}

impl Registration {
    /// Of a session that was just added to the directory.
    pub(super) fn new(shared: &Arc<Shared>, handle: Arc<Handle>, phase: &'static str) -> Self {
        shared.metrics.sessions.with_label_values(&[phase]).inc();
        Self { handle, shared: shared.clone(), phase, removed: false }
    }

    /// The session is in this phase now.
    pub(super) fn set_phase(&mut self, phase: &'static str) {
        if phase != self.phase {
            self.shared.metrics.sessions.with_label_values(&[self.phase]).dec();
            self.shared.metrics.sessions.with_label_values(&[phase]).inc();
            self.phase = phase;
        }
    }

    /// The session is over. It watched `watched` and had routes to `routed`.
    pub(super) fn remove(&mut self, outcome: Outcome, watched: &[PeerId], routed: &[PeerId]) {
        self.removed = true;
        self.shared.directory.remove(&self.handle, outcome, watched, routed);
    }
}

impl Drop for Registration {
    /// A task that was cancelled, or that panicked, has not said how its session ended.
    fn drop(&mut self) {
        if self.handle.glance().end() {
            self.shared.metrics.suspects.dec();
        }
        self.shared.metrics.sessions.with_label_values(&[self.phase]).dec();
        if !self.removed {
            self.shared.directory.forget(&self.handle);
        }
    }
}
