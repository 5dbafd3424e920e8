//! The flags that say how much may pass.

use baton_protocol::packet::MAX_MTU;
use clap::Args;

use crate::rates::{Rate, Rates, SESSION_BYTES, SESSION_DATAGRAMS, Throughput};

/// How much may pass in a second. 0 stands for any number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Args)]
pub struct RateFlags {
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
}

impl RateFlags {
    /// What they say, judged.
    pub(super) fn rates(&self, errors: &mut Vec<String>) -> Rates {
        let least = u64::from(MAX_MTU);
        if (1..least).contains(&self.limit_session_bytes) {
            errors.push(format!(
                "--limit-session-bytes is {}, and a large datagram could never pass: give {least} or more, or 0 for any number",
                self.limit_session_bytes
            ));
        }
        let session = Throughput {
            datagrams: Rate::new(self.limit_session_datagrams),
            bytes: Rate::new(self.limit_session_bytes),
        };
        Rates { session }
    }
}
