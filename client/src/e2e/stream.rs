//! How a stream between peers begins: what it is for, and the answer.
//!
//! ```text
//! opener:   version 1, length of the name, name          an empty name asks for an echo: a ping
//! acceptor: answer                                       then both sides' bytes are the owners'
//! ```

use baton_protocol::id::PeerId;
use quinn::{ReadExactError, VarInt};

use crate::service::ServiceName;

/// A stream's way out. What it is, and what it may do, is quinn's.
pub use quinn::SendStream;

/// A stream's way in.
pub use quinn::RecvStream;

const VERSION: u8 = 1;

/// The code that streams are reset with when nobody wants them.
pub(crate) const ABANDONED: VarInt = VarInt::from_u32(0x1);

/// Why a stream is not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum Rejection {
    /// The peer offers no service of that name.
    #[error("the peer offers no service of that name")]
    UnknownService,
    /// The service is not for us.
    #[error("the peer does not allow us to use the service")]
    NotAllowed,
    /// What stands behind the service does not answer.
    #[error("the peer cannot reach what stands behind the service")]
    Unreachable,
    /// The opening cannot be read, or is of a version that the peer does not speak.
    #[error("the peer does not understand how the stream was opened")]
    NotUnderstood,
}

impl Rejection {
    const ALL: [Self; 4] =
        [Self::UnknownService, Self::NotAllowed, Self::Unreachable, Self::NotUnderstood];

    const fn number(self) -> u8 {
        match self {
            Self::UnknownService => 1,
            Self::NotAllowed => 2,
            Self::Unreachable => 3,
            Self::NotUnderstood => 4,
        }
    }
}

/// What an opener wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Wanted {
    Ping,
    Service(ServiceName),
}

/// The first bytes of a stream.
pub(super) fn opening(wanted: &Wanted) -> Vec<u8> {
    let name = match wanted {
        Wanted::Ping => "",
        Wanted::Service(name) => name.as_str(),
    };
    // A name has at most 64 bytes.
    [&[VERSION, name.len() as u8], name.as_bytes()].concat()
}

/// Reads the first bytes of a stream; none if they make no sense.
pub(super) async fn read_opening(receive: &mut RecvStream) -> Option<Wanted> {
    let mut head = [0; 2];
    receive.read_exact(&mut head).await.ok()?;
    let [version, length] = head;
    if version != VERSION {
        return None;
    }
    let mut name = vec![0; usize::from(length)];
    receive.read_exact(&mut name).await.ok()?;
    if name.is_empty() {
        return Some(Wanted::Ping);
    }
    String::from_utf8(name).ok()?.parse().ok().map(Wanted::Service)
}

/// Reads the answer. The outer error is the stream's or the connection's.
pub(super) async fn read_answer(
    receive: &mut RecvStream,
) -> Result<Result<(), Rejection>, ReadExactError> {
    let mut answer = [0];
    receive.read_exact(&mut answer).await?;
    let [number] = answer;
    Ok(match number {
        0 => Ok(()),
        // An answer of a later version is a no that we cannot explain.
        number => Err(Rejection::ALL
            .into_iter()
            .find(|why| why.number() == number)
            .unwrap_or(Rejection::NotUnderstood)),
    })
}

/// A stream that another peer wants to open. Dropping it says that nobody is there.
#[derive(Debug)]
pub struct IncomingStream {
    pub(super) peer: PeerId,
    pub(super) service: ServiceName,
    pub(super) streams: Option<(SendStream, RecvStream)>,
}

/// The peer has gone before it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer has gone before it was answered")]
pub struct Gone;

impl IncomingStream {
    /// Who wants it. The peer has proved it.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// To which service.
    #[must_use]
    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    /// Takes it.
    pub async fn accept(mut self) -> Result<(SendStream, RecvStream), Gone> {
        let (mut send, receive) = self.streams.take().ok_or(Gone)?;
        send.write_all(&[0]).await.map_err(|_| Gone)?;
        Ok((send, receive))
    }

    /// Says no.
    pub async fn reject(mut self, why: Rejection) {
        if let Some((send, receive)) = self.streams.take() {
            reject(send, receive, why).await;
        }
    }
}

impl Drop for IncomingStream {
    fn drop(&mut self) {
        if let Some((send, receive)) = &mut self.streams {
            // Both fail only if they have ended already.
            let _ = send.reset(ABANDONED);
            let _ = receive.stop(ABANDONED);
        }
    }
}

pub(super) async fn reject(mut send: SendStream, mut receive: RecvStream, why: Rejection) {
    let _ = receive.stop(ABANDONED);
    if send.write_all(&[why.number()]).await.is_ok() {
        // A stream that is dropped unfinished is reset, and the answer might be lost with it.
        let _ = send.finish();
    }
}

/// Answers a ping: sends back what comes, until it ends.
pub(super) async fn echo(mut send: SendStream, mut receive: RecvStream) {
    const LONGEST: usize = 64;
    if send.write_all(&[0]).await.is_err() {
        return;
    }
    let mut bytes = [0; LONGEST];
    while let Ok(Some(count)) = receive.read(&mut bytes).await {
        if send.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
    let _ = send.finish();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_opening_is_these_bytes() {
        assert_eq!(opening(&Wanted::Service("web".parse().unwrap())), b"\x01\x03web");
        assert_eq!(opening(&Wanted::Ping), b"\x01\x00");
    }

    #[test]
    fn the_answers_are_these_numbers() {
        assert_eq!(Rejection::ALL.map(Rejection::number), [1, 2, 3, 4]);
    }
}
