//! Congestion control towards clients: CUBIC, which may begin where another relay left off.
//!
//! A client that moves during a download would wait for its new relay to find out anew how much its way takes: some round trips of
//! slow start. So a ticket says what the relay before had let under way, and the new connection begins with that, within
//! bounds, until it loses a packet or CUBIC's own window is larger. A way that is another one now loses packets for it once, as any new
//! way may.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use quinn::Connection;
use quinn::congestion::{Controller, ControllerFactory, CubicConfig};
use quinn_proto::RttEstimator;

/// The most that a connection begins with, in bytes: a tenth of a second at 20 Mbit/s. All sessions of a relay may come at once.
const MOST: u32 = 256 * 1024;

/// What the connection lets under way at a time, in bytes.
pub(crate) fn window(connection: &Connection) -> u32 {
    u32::try_from(connection.congestion_state().window()).unwrap_or(u32::MAX)
}

/// Has a connection begin with what a ticket says that its way takes.
pub(crate) fn begin_with(connection: &Connection, window: u32) {
    let state = connection.congestion_state().into_any().downcast::<Hinted>();
    if let Ok(state) = state {
        state.hint.store(window.min(MOST).into(), Ordering::Relaxed);
    }
}

/// Makes controllers that may be told of a window.
#[derive(Debug, Default)]
pub(crate) struct HintedCubic(Arc<CubicConfig>);

impl ControllerFactory for HintedCubic {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Hinted { cubic: self.0.clone().build(now, current_mtu), hint: Arc::default() })
    }
}

struct Hinted {
    cubic: Box<dyn Controller>,
    /// Shared with the copies that quinn hands out. Zero: there is none, or it holds no more.
    hint: Arc<AtomicU64>,
}

impl Controller for Hinted {
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
        self.cubic.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.hint.store(0, Ordering::Relaxed);
        self.cubic.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.cubic.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.cubic.window().max(self.hint.load(Ordering::Relaxed))
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self { cubic: self.cubic.clone_box(), hint: self.hint.clone() })
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

    fn hint(controller: &dyn Controller, window: u64) {
        let copy = controller.clone_box().into_any().downcast::<Hinted>().unwrap();
        copy.hint.store(window, Ordering::Relaxed);
    }

    #[test]
    fn a_hint_holds_until_a_packet_is_lost_and_narrows_nothing() {
        let factory = Arc::new(HintedCubic::default());
        let now = Instant::now();
        let mut controller = factory.build(now, 1200);
        let usual = controller.window();
        hint(&*controller, usual - 1);
        assert_eq!(controller.window(), usual);
        hint(&*controller, usual * 10);
        assert_eq!(controller.window(), usual * 10);
        controller.on_congestion_event(now, now, false, 1200);
        assert!(controller.window() < usual, "as if there had been no hint");
    }
}
