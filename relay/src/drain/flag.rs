//! The shutdown flag, as the drain contract has it (docs/drain-contract.md).

use std::time::Duration;

use baton_protocol::frame::GoAwayReason;
use serde::Deserialize;

use super::{grace_of, smear};

/// The longest flag file that is looked at, in bytes.
const MAX_LENGTH: usize = 4096;

/// The longest grace: a day. A longer one means that someone meant another unit.
const MAX_GRACE_SECONDS: u64 = 24 * 3600;

/// Sessions of a relay that ends without a flag return within this time at most. A grace that was cut short from outside cannot
/// be seen, so they go as early as the others can take them.
const FRONT: Duration = Duration::from_secs(20);

/// The order to drain.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Flag {
    /// Of this drain.
    pub id: String,
    /// How long the sessions have.
    pub grace_seconds: u64,
    /// Why.
    pub reason: Reason,
    /// How fast the sessions may return elsewhere; 0 = no limit.
    #[serde(default)]
    pub max_sessions_per_second: u32,
}

/// Why a relay drains.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// A new version takes its place.
    Rollout,
    /// There will be fewer.
    ScaleDown,
    /// Its machine is needed, or is going.
    Disruption,
    /// The pool ends.
    Closing,
}

impl Reason {
    /// As clients are told.
    #[must_use]
    pub const fn goaway(self) -> GoAwayReason {
        match self {
            Self::Rollout => GoAwayReason::Rollout,
            Self::ScaleDown => GoAwayReason::ScaleDown,
            Self::Disruption => GoAwayReason::Disruption,
            Self::Closing => GoAwayReason::Closing,
        }
    }
}

/// A flag file that is none. The last good state stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// It is no JSON object of the right form.
    #[error("the drain flag cannot be read: {0}; docs/drain-contract.md has its form")]
    Form(String),
    /// It is far too long.
    #[error("the drain flag has {0} bytes or more, and may have {MAX_LENGTH}")]
    Long(usize),
    /// A field has a value that it must not have.
    #[error("the drain flag's {field} is {value}, and must be {wanted}")]
    Value {
        /// Which.
        field: &'static str,
        /// What it is.
        value: String,
        /// What it should be.
        wanted: &'static str,
    },
}

impl Flag {
    /// What it means that the process of `relay`, which has so many sessions, is told to end without a flag: everyone is told at
    /// once, and moves early.
    #[must_use]
    pub fn front_loaded(relay: &str, grace: Duration, sessions: usize) -> Self {
        Self {
            id: format!("{relay}-sigterm"),
            grace_seconds: grace.as_secs(),
            reason: Reason::Disruption,
            max_sessions_per_second: smear::rate(sessions, smear::latest(grace).min(FRONT)),
        }
    }

    /// The same drain, `left` of which is still to come, when the process must end in `grace`.
    #[must_use]
    pub fn capped(self, left: Duration, grace: Duration) -> Self {
        let passed = grace_of(&self).saturating_sub(left);
        let grace_seconds = self.grace_seconds.min((passed + grace).as_secs());
        Self { grace_seconds, ..self }
    }

    /// How long the sessions have, from the beginning of the drain.
    #[must_use]
    pub fn grace(&self) -> Duration {
        grace_of(self)
    }

    /// Reads the content of the flag file. `None` = no flag: the file is empty.
    pub fn parse(content: &str) -> Result<Option<Self>, FlagError> {
        if content.len() > MAX_LENGTH {
            return Err(FlagError::Long(content.len()));
        }
        if content.trim().is_empty() {
            return Ok(None);
        }
        let flag: Self =
            serde_json::from_str(content).map_err(|error| FlagError::Form(error.to_string()))?;
        if flag.id.is_empty() || flag.id.len() > 128 {
            return Err(FlagError::Value {
                field: "id",
                value: flag.id,
                wanted: "1 to 128 bytes long",
            });
        }
        if flag.grace_seconds > MAX_GRACE_SECONDS {
            let value = flag.grace_seconds.to_string();
            return Err(FlagError::Value { field: "graceSeconds", value, wanted: "86400 or less" });
        }
        Ok(Some(flag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_as_the_operator_writes_it() {
        let text = r#"{"id": "u-1", "graceSeconds": 60, "reason": "scale-down", "maxSessionsPerSecond": 500}"#;
        let flag = Flag {
            id: "u-1".into(),
            grace_seconds: 60,
            reason: Reason::ScaleDown,
            max_sessions_per_second: 500,
        };
        assert_eq!(Flag::parse(text), Ok(Some(flag)));
        assert_eq!(Flag::parse(""), Ok(None));
        assert_eq!(Flag::parse("\n"), Ok(None));
    }

    #[test]
    fn a_later_operator_may_add_fields_and_omit_the_pace() {
        let text = r#"{"id": "u-1", "graceSeconds": 60, "reason": "rollout", "new": {"a": 1}}"#;
        assert_eq!(Flag::parse(text).unwrap().unwrap().max_sessions_per_second, 0);
    }

    #[test]
    fn what_is_no_flag_says_why() {
        let table = [
            ("{", "EOF"),
            ("[]", "cannot be read"),
            ("true", "cannot be read"),
            (r#"{"id": "u"}"#, "graceSeconds"),
            (r#"{"id": "u", "graceSeconds": -1, "reason": "rollout"}"#, "-1"),
            (r#"{"id": "u", "graceSeconds": 1e9, "reason": "rollout"}"#, "cannot be read"),
            (r#"{"id": "u", "graceSeconds": 90000, "reason": "rollout"}"#, "86400 or less"),
            (r#"{"id": "", "graceSeconds": 1, "reason": "rollout"}"#, "1 to 128"),
            (r#"{"id": "u", "graceSeconds": 1, "reason": "boredom"}"#, "boredom"),
        ];
        for (text, expected) in table {
            let error = Flag::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert_eq!(Flag::parse(&" ".repeat(5000)), Err(FlagError::Long(5000)));
    }
}
