//! RENEW and RENEWED: a session whose access token ends gets a newer one, and goes on.

use bytes::{BufMut, Bytes, BytesMut};

use super::{MAX_TICKET, MAX_TOKEN};
use crate::wire::{Reader, WireError, put_bytes};

/// An access token on its way. Nothing that prints a frame prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub Bytes);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a token of {} bytes", self.0.len())
    }
}

impl Token {
    pub(super) fn read(body: &mut Reader) -> Result<Self, WireError> {
        body.bytes("token", MAX_TOKEN).map(Self)
    }
}

/// The session's new terms.
#[derive(Clone, PartialEq, Eq)]
pub struct Renewed {
    /// When the session ends now, in seconds after the Unix epoch, by the relay's clock.
    pub expires_unix: u64,
    /// For a handover or a resume from this session; the earlier ones end when they would have.
    pub ticket: Bytes,
}

impl std::fmt::Debug for Renewed {
    /// Without the ticket, which is a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renewed").field("expires_unix", &self.expires_unix).finish_non_exhaustive()
    }
}

impl Renewed {
    pub(super) fn write(&self, out: &mut BytesMut) {
        out.put_u64(self.expires_unix);
        put_bytes(&self.ticket, out);
    }

    pub(super) fn read(body: &mut Reader) -> Result<Self, WireError> {
        Ok(Self { expires_unix: body.u64("expiry")?, ticket: body.bytes("ticket", MAX_TICKET)? })
    }
}
