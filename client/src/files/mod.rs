//! Files from peer to peer: what `baton send` and `baton receive` do.
//!
//! A file is one stream to the service [`SERVICE`]. Messages are JSON with their length before them, in two bytes:
//!
//! ```text
//! sender:   {"name": "a.iso", "size": 9}                      what is offered
//! receiver: {"have": 4, "sha256": "..."}                      what is there of an earlier attempt, or {"refused": ...}
//! sender:   {"from": 4}                                       or 0, if that is of another file
//! sender:   the bytes from there on, SHA-256 of the whole file (32 bytes)
//! receiver: {"saved": true}                                   or {"refused": ...}
//! ```
//!
//! Until it is whole and its checksum is right a file is in a hidden part file, and then it is renamed, at once. The receiver
//! alone decides where files go: a name with a separator in it is refused.

mod receive;
mod send;

use std::io;
use std::path::PathBuf;

use quinn::{ReadError, ReadExactError, StoppedError, WriteError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use self::receive::{Received, Receiver};
pub use self::send::{Sent, check, send};
use crate::e2e::{Gone, OpenError, RecvStream, SendStream};
use crate::service::ServiceName;

/// The name of the service that takes files.
pub const SERVICE: &str = "files";

/// The longest message.
const MESSAGE: usize = 4096;

/// The longest name: file systems take 255 bytes, and a part file's has something around it.
const NAME: usize = 200;

/// How much is read and written at a time.
const CHUNK: usize = 256 * 1024;

const CHECKSUM: usize = 32;

pub(crate) fn service() -> ServiceName {
    ServiceName::known(SERVICE)
}

#[derive(Serialize, Deserialize, Debug)]
struct Offer {
    name: String,
    size: u64,
}

#[derive(Serialize, Deserialize, Debug)]
#[serde(untagged)]
enum Answer {
    Have {
        have: u64,
        sha256: String,
    },
    Refused {
        refused: String,
        /// It may be taken later.
        #[serde(default)]
        again: bool,
    },
}

#[derive(Serialize, Deserialize, Debug)]
struct Start {
    from: u64,
}

#[derive(Serialize, Deserialize, Debug)]
#[serde(untagged)]
enum Outcome {
    Saved { saved: bool },
    Refused { refused: String },
}

/// A file that was not carried.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A file here cannot be used.
    #[error("{} cannot be {what}: {source}", path.display())]
    Local {
        /// Which.
        path: PathBuf,
        /// What was to be done with it.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It is no file, or its name cannot be sent.
    #[error("{} cannot be sent: {why}", path.display())]
    Unfit {
        /// Which.
        path: PathBuf,
        /// Why.
        why: &'static str,
    },
    /// It changed while it was sent.
    #[error("{} changed while it was sent: send it again", path.display())]
    Changed {
        /// Which.
        path: PathBuf,
    },
    /// The peer cannot be reached.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The other side does not take it, or no more of it.
    #[error("the other side says: {what}")]
    Refused {
        /// Its words.
        what: String,
        /// Whether it may take it later.
        again: bool,
    },
    /// The stream broke.
    #[error("the transfer broke: {0}")]
    Broken(String),
}

impl FileError {
    /// Whether another attempt may go better.
    fn may_heal(&self) -> bool {
        match self {
            Self::Open(OpenError::Offline | OpenError::NoAnswer | OpenError::Lost(_))
            | Self::Broken(_) => true,
            Self::Refused { again, .. } => *again,
            _ => false,
        }
    }
}

macro_rules! broken {
    ($($error:ty),*) => {
        $(impl From<$error> for FileError {
            fn from(error: $error) -> Self {
                Self::Broken(error.to_string())
            }
        })*
    };
}

broken!(ReadError, ReadExactError, WriteError, StoppedError, Gone, serde_json::Error);

async fn write(stream: &mut SendStream, message: &impl Serialize) -> Result<(), FileError> {
    let message = serde_json::to_vec(message)?;
    let length = u16::try_from(message.len()).ok().filter(|length| usize::from(*length) <= MESSAGE);
    let length = length.ok_or_else(|| FileError::Broken("a message is too long".to_owned()))?;
    stream.write_all(&[&length.to_be_bytes()[..], &message].concat()).await?;
    Ok(())
}

async fn read<T: DeserializeOwned>(stream: &mut RecvStream) -> Result<T, FileError> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let length = usize::from(u16::from_be_bytes(length));
    if length > MESSAGE {
        return Err(FileError::Broken(format!("a message of {length} bytes came")));
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(serde_json::from_slice(&message)?)
}

/// Whether a file may have this name in the receiver's folder: one part of a path, visible, and nothing that a terminal or a
/// shell would take for something else.
fn is_plain(name: &str) -> bool {
    (1..=NAME).contains(&name.len())
        && !name.starts_with(['.', '-', '~'])
        && !name.contains(|letter: char| matches!(letter, '/' | '\\' | ':') || letter.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_lead_elsewhere_is_refused() {
        for name in ["a", "a.iso", "with space", "ä.txt", "a..b", &"n".repeat(NAME)] {
            assert!(is_plain(name), "{name}");
        }
        for name in [
            "",
            ".",
            "..",
            "../a",
            "a/b",
            "/etc/passwd",
            "a\\b",
            "C:a",
            ".bashrc",
            "-rf",
            "~",
            "a\0b",
            "a\nb",
            "a\u{1b}[2J",
            &"n".repeat(NAME + 1),
        ] {
            assert!(!is_plain(name), "{name:?}");
        }
    }
}
