//! What a session sends because of the time: an echo when nothing comes that should, a sign of life where the relay wants it
//! more often than QUIC gives it, and a last question over a path that was just confirmed.

use std::time::{Duration, Instant};

use baton_protocol::datagram::{echo, padded_echo};
use baton_protocol::path::silence::Silence;
use quinn::Connection;

use super::padded;
use crate::session::suspicion::counters;

/// How often it is looked while something may be due, and else.
const LOOKS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(250));

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Lookout {
    silence: Silence,
    look_at: Instant,
    life: Option<Life>,
    settle_at: Option<Instant>,
}

/// Signs of life, which QUIC does not give often enough by itself.
#[derive(Debug)]
struct Life {
    every: Duration,
    at: Instant,
    /// Frames that had been sent by then.
    eliciting: u64,
}

impl Lookout {
    /// Of a session whose relay wants a sign of life each `wanted`, and whose connection gives one each `given`.
    pub(super) fn new(
        connection: &Connection,
        wanted: Duration,
        given: Duration,
        now: Instant,
    ) -> Self {
        let life = (wanted < given).then_some(Life { every: wanted, at: now, eliciting: 0 });
        let silence = Silence::new(counters(connection), now);
        Self { silence, look_at: now, life, settle_at: None }
    }

    /// When to [look](Self::look) next.
    pub(super) fn poll_timeout(&self) -> Instant {
        let life = self.life.as_ref().map(|life| life.at);
        [life, self.settle_at].into_iter().flatten().fold(self.look_at, Instant::min)
    }

    /// A path was confirmed. QUIC's own validation of it may have been lost, and then it goes back by itself: after that time the
    /// relay is asked once more, which takes it along again.
    pub(super) fn confirmed(&mut self, rtt: Duration, now: Instant) {
        // RFC 9000 section 8.2.4: three probe timeouts.
        self.settle_at = Some(now + (rtt * 2 + Duration::from_millis(50)) * 4);
    }

    /// Sends what is due. Whether nothing came that should have.
    pub(super) fn look(&mut self, connection: &Connection, now: Instant) -> bool {
        if self.settle_at.take_if(|at| *at <= now).is_some() {
            let _ = connection.send_datagram(padded_echo(rand::random(), padded(connection)));
        }
        if now < self.poll_timeout() {
            return false;
        }
        let counters = counters(connection);
        if let Some(life) = self.life.as_mut().filter(|life| life.at <= now) {
            if life.eliciting == counters.eliciting {
                let _ = connection.send_datagram(echo(rand::random()));
            }
            (life.at, life.eliciting) = (now + life.every, counters.eliciting);
        }
        let silent = self.silence.look(counters, connection.rtt(), now);
        if silent {
            tracing::debug!("nothing is heard: the relay is asked");
            let _ = connection.send_datagram(padded_echo(rand::random(), padded(connection)));
        }
        self.look_at = now + if self.silence.is_tense(now) { LOOKS.0 } else { LOOKS.1 };
        silent
    }
}
