//! Congestion control of inner connections: CUBIC, with a way past it for a nudge.
//!
//! When packets are lost with a session, what is in flight fills the window, and nothing more is sent until a probe timer
//! fires, which has backed off for as long as the loss took to be noticed. Not even acknowledgements are: quinn puts them
//! into the packet that has no room. So two peers whose windows are both full hear each other and say nothing, on a way that
//! is free again (seen: 2 s and more after a session that took 3.5 s to replace). A [`nudge`] sends something at once and,
//! while no acknowledgement comes, lets a few packets more than the window out. What is acknowledged then shows what was
//! lost, and from there on all is as usual.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn::congestion::{Controller, ControllerFactory, CubicConfig};
use quinn_proto::RttEstimator;

use super::flow::NUDGE;

/// Bytes that each step lets out beyond the window.
const STEP: u64 = 16 * 1200;

/// Steps at most: together far more than the probes that were sent in vain, two for each time the timer fired.
const STEPS: u32 = 5;

/// The shortest pause between steps; else it is one and a half round trips.
const PAUSE: Duration = Duration::from_millis(10);

/// Sends something that asks for an acknowledgement, past the window if nothing else helps, until there is one.
pub(super) async fn nudge(connection: quinn::Connection) {
    let Some(shared) = shared_of(&connection) else { return };
    let acknowledged = shared.acknowledged.load(Ordering::Relaxed);
    for step in 0..STEPS {
        // Fails only on a connection that has ended.
        if connection.send_datagram(Bytes::from_static(&[NUDGE])).is_err() {
            return;
        }
        let pause = PAUSE.max(connection.rtt().mul_f32(1.5));
        tokio::time::sleep(pause * 2_u32.pow(step)).await;
        if shared.acknowledged.load(Ordering::Relaxed) != acknowledged {
            return;
        }
        shared.beyond.fetch_add(STEP, Ordering::Relaxed);
    }
}

/// Every inner connection has such a controller, so there always is one.
fn shared_of(connection: &quinn::Connection) -> Option<Arc<Shared>> {
    let state = connection.congestion_state().into_any().downcast::<Nudgeable>();
    state.ok().map(|state| state.shared)
}

/// Makes controllers that can be nudged.
#[derive(Debug, Default)]
pub(super) struct NudgeableCubic(Arc<CubicConfig>);

impl ControllerFactory for NudgeableCubic {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let cubic = self.0.clone().build(now, current_mtu);
        Box::new(Nudgeable { cubic, shared: Arc::default() })
    }
}

/// What a controller shares with the copies that quinn hands out.
#[derive(Debug, Default)]
struct Shared {
    /// Bytes beyond the window; zero again with the next acknowledgement.
    beyond: AtomicU64,
    /// Batches of acknowledgements that came.
    acknowledged: AtomicU64,
}

struct Nudgeable {
    cubic: Box<dyn Controller>,
    shared: Arc<Shared>,
}

impl Controller for Nudgeable {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.cubic.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.cubic.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.shared.beyond.store(0, Ordering::Relaxed);
        self.shared.acknowledged.fetch_add(1, Ordering::Relaxed);
        self.cubic.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.cubic.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.cubic.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.cubic.window() + self.shared.beyond.load(Ordering::Relaxed)
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self { cubic: self.cubic.clone_box(), shared: self.shared.clone() })
    }

    fn initial_window(&self) -> u64 {
        self.cubic.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nudge_widens_the_window_of_its_connection_until_something_is_acknowledged() {
        let factory = Arc::new(NudgeableCubic::default());
        let now = Instant::now();
        let [mut one, other] = [0; 2].map(|_| factory.clone().build(now, 1200));
        let usual = one.window();
        // As `nudge` does, with a copy.
        let copy = one.clone_box().into_any().downcast::<Nudgeable>().unwrap();
        copy.shared.beyond.fetch_add(STEP, Ordering::Relaxed);
        assert_eq!(one.window(), usual + STEP);
        assert_eq!(other.window(), usual);
        one.on_end_acks(now, 0, true, None);
        assert_eq!(one.window(), usual);
        assert_eq!(copy.shared.acknowledged.load(Ordering::Relaxed), 1);
    }
}
