//! How a stream between peers begins: what it is for, and the answer.
//!
//! ```text
//! opener:   kind, length of the name, name
//! acceptor: answer
//!
//! kind 1: a stream to a service; after the answer both sides' bytes are the owners'. Without a name: a ping
//! kind 2: a flow of datagrams to a service, see `flow`
//! kind 3: without a name and an answer: the opener is about to close
//! ```

use baton_protocol::id::PeerId;
use quinn::{ReadExactError, VarInt};

use crate::service::ServiceName;

/// A stream's way out. What it is, and what it may do, is quinn's.
pub use quinn::SendStream;

/// A stream's way in.
pub use quinn::RecvStream;

/// What a stream is for: its first byte.
const SERVICE: u8 = 1;
const FLOW: u8 = 2;
const CLOSING: u8 = 3;

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
    /// The opening cannot be read, or is of a kind that the peer does not know.
    #[error("the peer does not understand how the stream was opened")]
    NotUnderstood,
    /// The peer is about to close.
    #[error("the peer is closing, and takes nothing new")]
    Closing,
}

impl Rejection {
    const ALL: [Self; 5] = [
        Self::UnknownService,
        Self::NotAllowed,
        Self::Unreachable,
        Self::NotUnderstood,
        Self::Closing,
    ];

    const fn number(self) -> u8 {
        match self {
            Self::UnknownService => 1,
            Self::NotAllowed => 2,
            Self::Unreachable => 3,
            Self::NotUnderstood => 4,
            Self::Closing => 5,
        }
    }
}

/// What an opener wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Wanted {
    Ping,
    Service(ServiceName),
    /// Datagrams to a service.
    Flow(ServiceName),
    /// Nothing: the opener is about to close.
    Closing,
}

/// The first bytes of a stream.
pub(super) fn opening(wanted: &Wanted) -> Vec<u8> {
    let (kind, name) = match wanted {
        Wanted::Ping => (SERVICE, ""),
        Wanted::Service(name) => (SERVICE, name.as_str()),
        Wanted::Flow(name) => (FLOW, name.as_str()),
        Wanted::Closing => (CLOSING, ""),
    };
    // A name has at most 64 bytes.
    [&[kind, name.len() as u8], name.as_bytes()].concat()
}

/// Reads the first bytes of a stream; none if they make no sense.
pub(super) async fn read_opening(receive: &mut RecvStream) -> Option<Wanted> {
    let mut head = [0; 2];
    receive.read_exact(&mut head).await.ok()?;
    let [kind, length] = head;
    if !(SERVICE..=CLOSING).contains(&kind) {
        return None;
    }
    let mut name = vec![0; usize::from(length)];
    receive.read_exact(&mut name).await.ok()?;
    let service = || String::from_utf8(name.clone()).ok()?.parse().ok();
    match kind {
        SERVICE if name.is_empty() => Some(Wanted::Ping),
        SERVICE => service().map(Wanted::Service),
        FLOW => service().map(Wanted::Flow),
        _ => name.is_empty().then_some(Wanted::Closing),
    }
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

/// Tells the other end that this one is about to close. It matters to nobody here whether that arrives: so does the close.
pub(super) async fn say_closing(connection: quinn::Connection) {
    if let Ok((mut send, _receive)) = connection.open_bi().await
        && send.write_all(&opening(&Wanted::Closing)).await.is_ok()
        && send.finish().is_ok()
    {
        let _ = send.stopped().await;
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
        assert_eq!(opening(&Wanted::Flow("dns".parse().unwrap())), b"\x02\x03dns");
        assert_eq!(opening(&Wanted::Closing), b"\x03\x00");
    }

    #[test]
    fn the_answers_are_these_numbers() {
        assert_eq!(Rejection::ALL.map(Rejection::number), [1, 2, 3, 4, 5]);
    }
}
