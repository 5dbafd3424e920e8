//! Keeps a session beyond the end of its access token: looks whether the token's source has a newer one, and shows that to the
//! relay.

use std::time::{Duration, Instant};

use baton_protocol::frame::{Frame, Refused, Renewed, Token};
use baton_protocol::renewal::Renewal;
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::profile::TokenSource;
use crate::unverified::{ends_of, now_unix};

/// An access token with which the session was not renewed. It goes on until the end that it had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenewError {
    /// The relay says no.
    #[error("the relay refuses the new access token ({}): {}", .0.code.name(), .0.message)]
    Refused(Refused),
    /// There is no session, or it was lost before the answer.
    #[error("there is no session that could be renewed: ask again when there is one")]
    NoSession,
    /// An answer is waited for.
    #[error("another access token is being shown: ask again when that is answered")]
    Busy,
    /// The relay is of a version that does not know how.
    #[error("the relay does not answer: its sessions end with their access tokens")]
    NoAnswer,
    /// The client is closed.
    #[error("the client is closed")]
    Closed,
}

/// Where the owner waits for an answer.
pub(crate) type Reply = oneshot::Sender<Result<(), RenewError>>;

/// What a session was made with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shown {
    /// A token that ends then; `None` if there was none, or none that says.
    Token { ends: Option<u64> },
    /// A ticket that the client had then.
    Ticket { dialed: Instant },
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Renewals {
    machine: Renewal,
    reads: JoinSet<std::io::Result<Bytes>>,
    /// What the owner gave, and where it waits.
    owner: Option<(Bytes, Reply)>,
}

impl Renewals {
    /// A session is in use.
    pub(crate) fn using(&mut self, shown: Shown) {
        self.answer_owner(Err(RenewError::NoSession));
        match shown {
            Shown::Token { ends } => self.machine.attached(ends, now_unix(), Instant::now()),
            Shown::Ticket { dialed } => self.machine.moved(dialed, Instant::now()),
        }
    }

    /// The session in use is gone.
    pub(crate) fn lost(&mut self) {
        self.answer_owner(Err(RenewError::NoSession));
    }

    /// A token of the source that ends later than what holds, as soon as there is one when it is needed. Nothing is lost if this is
    /// dropped and called again.
    pub(crate) async fn newer(&mut self, source: &TokenSource) -> Bytes {
        loop {
            if self.reads.is_empty() {
                match self.machine.poll_timeout() {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
                if self.machine.handle_timeout(now_unix(), Instant::now()) {
                    let source = source.clone();
                    self.reads.spawn_blocking(move || source.read());
                }
                if !self.machine.is_asking() {
                    self.answer_owner(Err(RenewError::NoAnswer));
                }
                continue;
            }
            match self.reads.join_next().await {
                Some(Ok(Ok(token))) if self.machine.wants(ends_of(&token)) => return token,
                Some(Ok(Err(error))) => {
                    tracing::warn!(%error, "no newer access token can be read; it is tried again");
                }
                _ => {}
            }
        }
    }

    /// The frame that shows this token to the relay. With `reply` the owner gave it.
    pub(crate) fn ask(&mut self, token: Bytes, reply: Option<Reply>) -> Option<Frame> {
        if self.machine.is_asking() {
            reply.map(|reply| reply.send(Err(RenewError::Busy)));
            return None;
        }
        self.machine.asked(ends_of(&token).unwrap_or(0), Instant::now());
        self.owner = reply.map(|reply| (token.clone(), reply));
        Some(Frame::Renew { token: Token(token) })
    }

    /// RENEWED came. Returns the token if the owner gave it: it is what holds from now on.
    pub(crate) fn renewed(&mut self, renewed: &Renewed) -> Option<Bytes> {
        if !self.machine.is_asking() {
            return None;
        }
        self.machine.renewed(now_unix(), Instant::now());
        let left = Duration::from_secs(renewed.expires_unix.saturating_sub(now_unix()));
        tracing::info!(?left, "the session was renewed");
        let token = self.owner.as_ref().map(|(token, _)| token.clone());
        self.answer_owner(Ok(()));
        token
    }

    /// RENEW_REFUSED came.
    pub(crate) fn refused(&mut self, refused: Refused) {
        let (code, message) = (refused.code.name(), &refused.message);
        tracing::warn!(code, message, "the session was not renewed: it goes on until its end");
        self.machine.refused(refused.retry, now_unix(), Instant::now());
        self.answer_owner(Err(RenewError::Refused(refused)));
    }

    fn answer_owner(&mut self, answer: Result<(), RenewError>) {
        if let Some((_, reply)) = self.owner.take() {
            // Whoever asked may wait no more.
            let _ = reply.send(answer);
        }
    }
}
