//! Who may attach: access tokens and tickets.
//!
//! The checks of a HELLO go from cheap to dear: token or ticket first, the signature last, so that whoever has neither
//! costs no curve arithmetic.

mod allowlist;
mod keys;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use baton_protocol::frame::{Hello, Intent, RefusalCode, Refused, Retry};
use baton_protocol::id::{Instance, PeerId, Stamp};
use baton_protocol::ticket::{Ticket, TicketKey};
use baton_protocol::token::{Claims, TokenFault};
use bytes::Bytes;

pub use allowlist::{Allowlist, AllowlistError};
pub use keys::{TokenKeyError, TokenKeys};

/// The end of what has none: where there are no tokens, no session has an end that a token could give it.
const NEVER: u64 = u64::MAX;

/// Whom a pool lets in.
#[derive(Clone, Debug)]
pub enum Mode {
    /// Who shows a JWT that one of these keys made.
    Token(TokenKeys),
    /// Who is on this list.
    Allowlist(Allowlist),
    /// Anyone who holds a key. For tests and closed networks.
    Open,
}

/// Who is let in, and for how long.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admission {
    /// Who it may reach.
    pub group: String,
    /// The end of it, in seconds after the Unix epoch: that of the token, with the leeway with which the token was let in.
    pub expires_unix: u64,
    /// Whether it was let in without a token.
    pub open: bool,
    /// The last stamp that the peer showed.
    pub known: Option<Stamp>,
    /// The number of the rules by which it was let in.
    pub epoch: u32,
    /// What its ticket said of the way to it; zero for nothing.
    pub window: u32,
}

/// What tickets are made and judged with.
#[derive(Clone, Debug)]
pub struct Tickets {
    /// The first makes them; any of them is known.
    pub keys: Vec<TicketKey>,
    /// Those of earlier numbers are good no more.
    pub epoch: u32,
}

/// What may change while a relay runs.
#[derive(Debug)]
struct Rules {
    mode: Mode,
    tickets: Tickets,
}

/// Decides whom to let in.
#[derive(Debug)]
pub struct Gate {
    /// `<namespace>/<pool>`.
    audience: String,
    rules: ArcSwap<Rules>,
    /// How often the rules were replaced.
    generation: AtomicU64,
}

/// The process of a peer that a ticket is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Whose {
    pub(crate) peer: PeerId,
    pub(crate) instance: Instance,
}

impl Gate {
    /// A gate for the pool with this audience.
    #[must_use]
    pub fn new(mode: Mode, audience: String, tickets: Tickets) -> Self {
        let rules = ArcSwap::from_pointee(Rules { mode, tickets });
        Self { audience, rules, generation: AtomicU64::new(0) }
    }

    /// From now on it decides by these.
    pub fn replace(&self, mode: Mode, tickets: Tickets) {
        self.rules.store(Rules { mode, tickets }.into());
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Differs from what it was if the rules were replaced since: then each session asks whether it [may
    /// stay](Self::still_admits).
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether who was let in like this may stay. A token that was good is good until its end, whatever becomes of the key that
    /// made it; a peer that is listed no more must go.
    pub(crate) fn still_admits(&self, peer: &PeerId, admission: &Admission) -> bool {
        match &self.rules.load().mode {
            Mode::Allowlist(list) => list.group_of(peer) == Some(&admission.group),
            Mode::Token(_) | Mode::Open => true,
        }
    }

    /// Judges token or ticket of a HELLO at `now_unix` (seconds after the Unix epoch). The signature is judged by the caller.
    pub fn admit(&self, hello: &Hello, now_unix: u64) -> Result<Admission, Refused> {
        let rules = self.rules.load();
        match hello.intent {
            Intent::Fresh => self.admit_fresh(&rules, hello, now_unix),
            Intent::Handover | Intent::Resume => admit_ticket(&rules, hello, now_unix),
        }
    }

    /// Judges the token with which a session that was let in like `admission` wants to stay for longer: it must be for the same
    /// peer, group and pool. Nothing is lost by asking: the later end counts.
    pub fn renew(
        &self,
        peer: &PeerId,
        admission: &Admission,
        token: &[u8],
        now_unix: u64,
    ) -> Result<Admission, Refused> {
        let rules = self.rules.load();
        let Mode::Token(keys) = &rules.mode else {
            let message = "this pool takes no access tokens, so there is none to renew";
            return Err(never(RefusalCode::TokenInvalid, message));
        };
        let claims = self.judge_token(keys, peer, token, now_unix)?;
        if claims.group != admission.group {
            let message = "the access token is for another group than the session's";
            return Err(never(RefusalCode::TokenInvalid, message));
        }
        let expires_unix = claims.ends_unix().max(admission.expires_unix);
        Ok(Admission {
            expires_unix,
            epoch: rules.tickets.epoch.max(admission.epoch),
            ..admission.clone()
        })
    }

    /// The ticket for a session that was let in like this, under this stamp, with such a [window](Ticket::window).
    pub(crate) fn ticket(
        &self,
        whose: Whose,
        admission: &Admission,
        stamp: Stamp,
        window: u32,
    ) -> Bytes {
        let ticket = Ticket {
            peer: whose.peer,
            instance: whose.instance,
            stamp,
            group: admission.group.clone(),
            expires_unix: admission.expires_unix,
            open: admission.open,
            epoch: admission.epoch,
            window,
        };
        // A gate is made with at least one key: PoolKeys always has a current secret.
        self.rules.load().tickets.keys.first().map(|key| ticket.seal(key)).unwrap_or_default()
    }

    /// The stamp of a ticket of this peer and process; `None` if it is not theirs, or no good any more.
    pub(crate) fn stamp_of(&self, ticket: &Bytes, whose: Whose, now_unix: u64) -> Option<Stamp> {
        let ticket = Ticket::open(ticket, &self.rules.load().tickets.keys, now_unix).ok()?;
        let is_theirs = ticket.peer == whose.peer && ticket.instance == whose.instance;
        is_theirs.then_some(ticket.stamp)
    }

    fn admit_fresh(
        &self,
        rules: &Rules,
        hello: &Hello,
        now_unix: u64,
    ) -> Result<Admission, Refused> {
        let epoch = rules.tickets.epoch;
        let without_token = |group| Admission {
            group,
            expires_unix: NEVER,
            open: true,
            known: None,
            epoch,
            window: 0,
        };
        match &rules.mode {
            Mode::Open => Ok(without_token(String::new())),
            Mode::Allowlist(list) => {
                let group = list.group_of(&hello.peer).ok_or_else(not_allowed)?;
                Ok(without_token(group.to_owned()))
            }
            Mode::Token(keys) => {
                let claims = self.judge_token(keys, &hello.peer, &hello.token, now_unix)?;
                let expires_unix = claims.ends_unix();
                let (group, open, known) = (claims.group, false, None);
                Ok(Admission { group, expires_unix, open, known, epoch, window: 0 })
            }
        }
    }

    fn judge_token(
        &self,
        keys: &TokenKeys,
        peer: &PeerId,
        token: &[u8],
        now_unix: u64,
    ) -> Result<Claims, Refused> {
        if token.is_empty() {
            return Err(never(RefusalCode::TokenRequired, "this pool demands an access token"));
        }
        let judged = keys.verify(token).and_then(|claims| {
            claims.judge(&self.audience, peer, now_unix)?;
            Ok(claims)
        });
        judged.map_err(|fault| never(code_of(&fault), &fault.to_string()))
    }
}

fn admit_ticket(rules: &Rules, hello: &Hello, now_unix: u64) -> Result<Admission, Refused> {
    let invalid = |message: &str| Refused {
        code: RefusalCode::TicketInvalid,
        retry: Retry::Fresh,
        message: message.to_owned(),
    };
    let ticket = Ticket::open(&hello.ticket, &rules.tickets.keys, now_unix)
        .map_err(|error| invalid(&error.to_string()))?;
    if ticket.peer != hello.peer {
        return Err(invalid("the ticket is another peer's"));
    }
    if ticket.instance != hello.instance {
        return Err(invalid("the ticket is another process's"));
    }
    if ticket.epoch < rules.tickets.epoch {
        return Err(invalid("the ticket is of a time before the pool's rules were renewed"));
    }
    let group = match &rules.mode {
        Mode::Token(_) if ticket.open => {
            return Err(invalid("the ticket is of a time when this pool demanded no access token"));
        }
        Mode::Token(_) | Mode::Open => ticket.group,
        // It is looked up again: who is listed no more is out, and a group is what the list says now.
        Mode::Allowlist(list) => list.group_of(&hello.peer).ok_or_else(not_allowed)?.to_owned(),
    };
    Ok(Admission {
        group,
        expires_unix: ticket.expires_unix,
        open: ticket.open,
        known: Some(ticket.stamp),
        epoch: ticket.epoch,
        window: ticket.window,
    })
}

fn not_allowed() -> Refused {
    never(RefusalCode::NotAllowed, "this peer is not on the pool's allowlist")
}

/// The refusal of a HELLO whose signature is wrong.
pub(crate) fn bad_signature(peer: &PeerId) -> Refused {
    never(
        RefusalCode::BadSignature,
        &format!("the signature is not that of peer {peer} on this connection"),
    )
}

/// The refusal of a session that asks again too early.
pub(crate) fn too_soon(wait: Duration) -> Refused {
    let message = "a session may ask to be renewed once a second".to_owned();
    // Whole milliseconds travel: who waits so long must not be too early again, and none would mean at once.
    let whole = u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    let retry = Retry::After(Duration::from_millis(whole.max(1)));
    Refused { code: RefusalCode::TooSoon, retry, message }
}

const fn code_of(fault: &TokenFault) -> RefusalCode {
    match fault {
        TokenFault::Expired | TokenFault::Early => RefusalCode::TokenExpired,
        _ => RefusalCode::TokenInvalid,
    }
}

fn never(code: RefusalCode, message: &str) -> Refused {
    Refused { code, retry: Retry::Never, message: message.to_owned() }
}

#[cfg(test)]
mod tests;
