//! A session's policy, as its client sets it: what follows from each change.

use std::sync::Arc;
use std::time::Instant;

use baton_protocol::frame::{PolicyMode, Rule};
use baton_protocol::id::PeerId;
use baton_protocol::policy::TooManyNames;

use super::Shared;
use super::handle::Handle;
use super::senders::TooOften;
use super::serve::Fault;
use crate::metrics::Dropped;

/// From the next datagram on this holds for those whom no rule names.
pub(super) fn set_mode(
    shared: &Shared,
    handle: &Arc<Handle>,
    mode: PolicyMode,
) -> Result<(), Fault> {
    let refused = handle.set_mode(mode, Instant::now()).map_err(|TooOften| Fault::Fickle)?;
    changed(shared, handle, &refused);
    Ok(())
}

/// From the next datagram on these are let in, or are not.
pub(super) fn rule(shared: &Shared, handle: &Arc<Handle>, rule: &Rule) -> Result<(), TooManyNames> {
    let refused = handle.rule(rule)?;
    changed(shared, handle, &refused);
    Ok(())
}

/// What waits of those who are let in no more is dropped; and if strangers may be let in now, siblings hear of it.
fn changed(shared: &Shared, handle: &Arc<Handle>, refused: &[PeerId]) {
    let waiting = refused.iter().map(|sender| handle.egress.forget(*sender)).sum();
    shared.metrics.dropped(Dropped::Policy, waiting);
    if handle.admits_strangers() {
        shared.directory.reaches_further(handle);
    }
}
