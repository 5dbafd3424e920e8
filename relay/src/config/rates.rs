//! The flags that say how much may pass.

use baton_protocol::packet::FULL_MTU;
use baton_protocol::session::Limits;
use clap::Args;

use crate::rates::{
    ATTACHMENTS_PER_PEER, HANDSHAKES, QUEUED_BYTES, Rate, Rates, SESSION_BYTES, SESSION_DATAGRAMS,
    Throughput,
};

/// How much may pass in a second. 0 stands for any number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Args)]
pub struct RateFlags {
    /// How many handshakes it begins in a second; 0 is any number. Above half of it clients must show first that their
    /// address is their own
    #[arg(
        long,
        env = "BATON_LIMIT_HANDSHAKES",
        default_value_t = HANDSHAKES,
        value_name = "COUNT"
    )]
    pub limit_handshakes: u64,
    /// How many of them from one IPv4 address, or one /64 of IPv6; 0 is any number. Not where addresses are translated
    /// before they reach the relay, as a Service does: all clients would share one
    #[arg(
        long,
        env = "BATON_LIMIT_HANDSHAKES_PER_PREFIX",
        default_value_t = 0,
        value_name = "COUNT"
    )]
    pub limit_handshakes_per_prefix: u64,
    /// How often one peer may attach in a second; 0 is any number
    #[arg(
        long,
        env = "BATON_LIMIT_ATTACHMENTS_PER_PEER",
        default_value_t = ATTACHMENTS_PER_PEER,
        value_name = "COUNT"
    )]
    pub limit_attachments_per_peer: u64,
    /// How many datagrams a session may send in a second; 0 is any number
    #[arg(
        long,
        env = "BATON_LIMIT_SESSION_DATAGRAMS",
        default_value_t = SESSION_DATAGRAMS,
        value_name = "COUNT"
    )]
    pub limit_session_datagrams: u64,
    /// How many bytes a session may send in a second; 0 is any number
    #[arg(
        long,
        env = "BATON_LIMIT_SESSION_BYTES",
        default_value_t = SESSION_BYTES,
        value_name = "BYTES"
    )]
    pub limit_session_bytes: u64,
    /// How many of its datagrams to one peer; 0 is any number
    #[arg(long, env = "BATON_LIMIT_PAIR_DATAGRAMS", default_value_t = 0, value_name = "COUNT")]
    pub limit_pair_datagrams: u64,
    /// How many of its bytes to one peer; 0 is any number
    #[arg(long, env = "BATON_LIMIT_PAIR_BYTES", default_value_t = 0, value_name = "BYTES")]
    pub limit_pair_bytes: u64,
    /// How many datagrams may come for a session in a second, from all; 0 is any number
    #[arg(long, env = "BATON_LIMIT_RECEIVER_DATAGRAMS", default_value_t = 0, value_name = "COUNT")]
    pub limit_receiver_datagrams: u64,
    /// How many bytes may come for a session in a second, from all; 0 is any number
    #[arg(long, env = "BATON_LIMIT_RECEIVER_BYTES", default_value_t = 0, value_name = "BYTES")]
    pub limit_receiver_bytes: u64,
    /// How many routes a session may have open at a time
    #[arg(
        long,
        env = "BATON_LIMIT_ROUTES",
        default_value_t = Limits::DEFAULT.routes,
        value_name = "COUNT"
    )]
    pub limit_routes: usize,
    /// How many peers a session may watch at a time
    #[arg(
        long,
        env = "BATON_LIMIT_WATCHES",
        default_value_t = Limits::DEFAULT.watches,
        value_name = "COUNT"
    )]
    pub limit_watches: usize,
    /// How many bytes may wait in the queues of all sessions together; 0 is any number. Beyond it each session keeps 4 KiB
    #[arg(
        long,
        env = "BATON_LIMIT_QUEUED_BYTES",
        default_value_t = QUEUED_BYTES,
        value_name = "BYTES"
    )]
    pub limit_queued_bytes: u64,
}

/// Each costs the relay some hundred bytes, in each session.
const MOST_HELD: usize = 16_384;

/// What may wait in all queues is no less than what may wait in some.
const LEAST_QUEUED: u64 = 1 << 20;

impl RateFlags {
    /// What they say, judged.
    pub(super) fn rates(&self, errors: &mut Vec<String>) -> Rates {
        let least = u64::from(FULL_MTU);
        for (name, bytes) in [
            ("session", self.limit_session_bytes),
            ("pair", self.limit_pair_bytes),
            ("receiver", self.limit_receiver_bytes),
        ] {
            if (1..least).contains(&bytes) {
                errors.push(format!(
                    "--limit-{name}-bytes is {bytes}, and a large datagram could never pass: give {least} or more, or 0 for \
                     any number"
                ));
            }
        }
        for (name, count) in [("routes", self.limit_routes), ("watches", self.limit_watches)] {
            if !(1..=MOST_HELD).contains(&count) {
                errors.push(format!(
                    "--limit-{name} is {count}, and must be 1 to {MOST_HELD}: each takes memory, in each session"
                ));
            }
        }
        if (1..LEAST_QUEUED).contains(&self.limit_queued_bytes) {
            errors.push(format!(
                "--limit-queued-bytes is {}, and a few slow readers would take it from all others: give {LEAST_QUEUED} or more, or \
                 0 for any number",
                self.limit_queued_bytes
            ));
        }
        for ((part, of_part), (whole, of_whole)) in [
            (
                ("handshakes-per-prefix", self.limit_handshakes_per_prefix),
                ("handshakes", self.limit_handshakes),
            ),
            (
                ("pair-datagrams", self.limit_pair_datagrams),
                ("session-datagrams", self.limit_session_datagrams),
            ),
            (("pair-bytes", self.limit_pair_bytes), ("session-bytes", self.limit_session_bytes)),
        ] {
            if of_whole != 0 && of_part > of_whole {
                errors.push(format!(
                    "--limit-{part} is {of_part}, and nobody could meet it: --limit-{whole} is {of_whole}. Give less, or 0 for \
                     any number"
                ));
            }
        }
        let limit = |datagrams, bytes| Throughput {
            datagrams: Rate::new(datagrams),
            bytes: Rate::new(bytes),
        };
        Rates {
            handshakes: Rate::new(self.limit_handshakes),
            handshakes_per_prefix: Rate::new(self.limit_handshakes_per_prefix),
            attachments_per_peer: Rate::new(self.limit_attachments_per_peer),
            session: limit(self.limit_session_datagrams, self.limit_session_bytes),
            pair: limit(self.limit_pair_datagrams, self.limit_pair_bytes),
            receiver: limit(self.limit_receiver_datagrams, self.limit_receiver_bytes),
            held: Limits {
                routes: self.limit_routes,
                watches: self.limit_watches,
                ..Limits::DEFAULT
            },
            queued_bytes: Rate::new(self.limit_queued_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        rates: RateFlags,
    }

    fn judged(line: &[&str]) -> (Rates, Vec<String>) {
        let flags = Line::parse_from([&["relay"], line].concat()).rates;
        let mut errors = Vec::new();
        (flags.rates(&mut errors), errors)
    }

    #[test]
    fn without_a_flag_the_defaults_hold_and_nothing_is_wrong_with_them() {
        assert_eq!(judged(&[]), (Rates::default(), vec![]));
    }

    #[test]
    fn each_flag_says_one_thing() {
        let line = [
            "--limit-handshakes=0",
            "--limit-handshakes-per-prefix=3",
            "--limit-attachments-per-peer=4",
            "--limit-session-datagrams=0",
            "--limit-session-bytes=5000",
            "--limit-pair-datagrams=6",
            "--limit-pair-bytes=4000",
            "--limit-receiver-datagrams=8",
            "--limit-receiver-bytes=1280",
            "--limit-routes=9",
            "--limit-watches=10",
            "--limit-queued-bytes=1048576",
        ];
        let limit = |datagrams, bytes| Throughput {
            datagrams: Rate::new(datagrams),
            bytes: Rate::new(bytes),
        };
        let rates = Rates {
            handshakes: None,
            handshakes_per_prefix: Rate::new(3),
            attachments_per_peer: Rate::new(4),
            session: limit(0, 5000),
            pair: limit(6, 4000),
            receiver: limit(8, 1280),
            held: Limits { routes: 9, watches: 10, ..Limits::DEFAULT },
            queued_bytes: Rate::new(1 << 20),
        };
        assert_eq!(judged(&line), (rates, vec![]));
    }

    #[test]
    fn all_that_makes_no_sense_is_named_at_once() {
        let line = [
            "--limit-handshakes-per-prefix=3001",
            "--limit-pair-datagrams=500001",
            "--limit-pair-bytes=1279",
            "--limit-session-bytes=1000",
            "--limit-receiver-bytes=1",
            "--limit-routes=0",
            "--limit-watches=16385",
            "--limit-queued-bytes=1048575",
        ];
        let errors = judged(&line).1;
        assert_eq!(errors.len(), 9, "{errors:?}");
        for part in line.map(|flag| flag.replace('=', " is ")) {
            assert!(errors.iter().any(|error| error.starts_with(&part)), "{part} in {errors:?}");
        }
    }
}
