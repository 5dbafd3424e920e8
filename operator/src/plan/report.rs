//! Why a plan does no more than it does. Conditions, Events and logs print this, so that "why is my
//! rollout stuck?" has one answer.

use std::fmt;

/// What a plan waits for, and what stands in its way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct Report {
    /// It will pass by itself.
    pub waiting: Vec<Waiting>,
    /// Somebody has to do something.
    pub blocked: Vec<Blocked>,
}

/// What will pass by itself. No numbers that change all the time: this text stands in conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// For a pod to be ready.
    Ready {
        /// Which.
        pod: String,
    },
    /// For a pod to have been ready for long enough.
    MinReady {
        /// Which.
        pod: String,
    },
    /// For sessions to leave a pod.
    Drain {
        /// Which.
        pod: String,
    },
    /// For a deleted pod to be gone.
    End {
        /// Which.
        pod: String,
    },
    /// For the Secrets to be seen.
    Secrets,
}

/// What will not pass by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocked {
    /// `spec.paused`.
    Paused,
    /// A Secret that running pods use is gone.
    SecretMissing {
        /// Its name.
        name: String,
    },
    /// A pod does not start.
    PodFailing {
        /// Which.
        pod: String,
        /// In one word.
        reason: String,
        /// In words.
        message: String,
    },
    /// A relay cannot read its flag.
    FlagUnreadable {
        /// Which.
        pod: String,
        /// What it says.
        error: String,
    },
}

impl Report {
    /// All of it, what is worst first, not longer than a condition's message may be.
    #[must_use]
    pub fn text(&self) -> String {
        let parts: Vec<String> = self
            .blocked
            .iter()
            .map(ToString::to_string)
            .chain(self.waiting.iter().map(ToString::to_string))
            .collect();
        shorten(&parts.join("; "), MESSAGE_LENGTH)
    }
}

/// The API allows 32768; nobody reads that in a terminal.
const MESSAGE_LENGTH: usize = 800;

/// At most so many characters.
fn shorten(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    text.chars().take(length - 1).chain(['…']).collect()
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready { pod } => write!(f, "{pod} is not ready yet"),
            Self::MinReady { pod } => write!(f, "{pod} is not ready for minReadySeconds yet"),
            Self::Drain { pod } => write!(f, "{pod} drains"),
            Self::End { pod } => write!(f, "{pod} is deleted, and ends"),
            Self::Secrets => f.write_str("the Secrets are being made"),
        }
    }
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paused => f.write_str("spec.paused is true: set it to false to go on"),
            Self::SecretMissing { name } => write!(
                f,
                "Secret {name} is gone while pods use it: restore it, or scale the pool to 0 to have a new one made"
            ),
            Self::PodFailing { pod, reason, message } if message.is_empty() => {
                write!(f, "{pod} does not start: {reason}")
            }
            Self::PodFailing { pod, reason, message } => {
                write!(f, "{pod} does not start: {reason}: {message}")
            }
            Self::FlagUnreadable { pod, error } => {
                write!(f, "{pod} cannot read its shutdown flag: {error}")
            }
        }
    }
}
