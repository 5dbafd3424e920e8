//! The relay's end of a session: any frames of a client, mixed with what a relay does by itself.

use std::collections::BTreeSet;
use std::time::Duration;

use baton_protocol::frame::{
    Decoder, Frame, GoAwayReason, Intent, LimitKind, NoticeCode, PeerState,
};
use baton_protocol::id::{PeerId, Stamp};
use baton_protocol::policy::TooManyNames;
use baton_protocol::session::{GoAwayOrder, Limits, Order, Session};
use bytes::Bytes;

use super::choice;

/// Small, so that inputs come to them.
const LIMITS: Limits = Limits { routes: 4, watches: 4, senders: 4 };

/// The input is a stream of frames; between them, bytes of a type that is skipped say what the relay does.
pub(crate) fn session(data: &[u8]) {
    let Some((first, mut bytes)) = choice(data) else { return };
    let intent = Intent::ALL[usize::from(first) % Intent::ALL.len()];
    let make = if first & 0x80 == 0 { Session::new } else { Session::with_policy_first };
    let mut run = Run {
        session: make(intent, LIMITS),
        awaits_policy: first & 0x80 != 0,
        unanswered: 0,
        intent,
        outstanding: None,
        opened: 0,
        stamp: 1,
        told: BTreeSet::new(),
    };
    run.carry_out();
    let mut decoder = Decoder::new();
    decoder.authenticated();
    while let Some((step, rest)) = choice(bytes) {
        // An odd byte is the relay's doing, an even one says how many bytes come from the client.
        bytes = if step & 1 == 1 {
            run.relay(step >> 1);
            rest
        } else {
            let (now, later) = rest.split_at(rest.len().min(usize::from(step) / 2 + 1));
            decoder.push(now);
            loop {
                match decoder.next_frame() {
                    Ok(Some(frame)) => {
                        if run.session.handle_frame(frame).is_err() {
                            return;
                        }
                        run.carry_out();
                    }
                    Ok(None) => break,
                    Err(_) => return,
                }
            }
            later
        };
        run.carry_out();
    }
}

struct Run {
    session: Session,
    intent: Intent,
    /// It may not be announced yet.
    awaits_policy: bool,
    /// Changes of the policy that were not answered yet.
    unanswered: usize,
    /// The GOAWAY that the client must obey.
    outstanding: Option<u64>,
    opened: usize,
    stamp: u64,
    /// The limits of which the client was told.
    told: BTreeSet<LimitKind>,
}

impl Run {
    fn relay(&mut self, what: u8) {
        let peer = PeerId::from_bytes([what; 32]);
        match what % 8 {
            0 => self.session.go_away(GoAwayOrder {
                reason: GoAwayReason::ALL[usize::from(what / 8) % 4],
                deadline: Duration::from_secs(60),
                reconnect_after: Duration::ZERO,
                route_ids: Vec::new(),
                ticket: Bytes::new(),
            }),
            1 => self.session.stay(),
            2 => self.session.presence(peer, PeerState::Online),
            3 => self.session.presence(PeerId::from_bytes([0; 32]), PeerState::Offline),
            4 => self.session.sender(peer, what & 0x20 != 0),
            5 if what >= 64 => self.session.knock(peer),
            5 => self.session.refreshed(peer),
            6 => self.session.resync(),
            _ if what >= 64 => self.session.limited(LimitKind::ALL[usize::from(what / 8) % 8], 1),
            _ => self.session.notice(16, NoticeCode::Offline),
        }
    }

    /// Every order is one that makes sense: at most one GOAWAY is out, no more is open than may be, and what is sent is written
    /// and read.
    fn carry_out(&mut self) {
        while let Some(order) = self.session.poll_order() {
            match order {
                Order::Send(frame) => {
                    super::frames::check(&frame);
                    match frame {
                        Frame::GoAway(goaway) => {
                            assert_eq!(self.outstanding.replace(goaway.sequence), None);
                        }
                        Frame::GoAwayCancel { sequence } => {
                            assert_eq!(self.outstanding.take(), Some(sequence));
                        }
                        Frame::Limited(limited) => {
                            assert!(self.told.insert(limited.kind), "told twice");
                        }
                        Frame::Opened { .. } => {
                            assert_eq!(
                                self.outstanding, None,
                                "a route on a session that goes away"
                            );
                        }
                        Frame::Ruled(_) => self.unanswered -= 1,
                        _ => {}
                    }
                }
                Order::Policy { .. } => {
                    self.awaits_policy = false;
                    self.unanswered += 1;
                    self.session.ruled(Ok(()));
                }
                Order::Rule(rule) => {
                    self.unanswered += 1;
                    let done = if rule.peers.len() % 2 == 0 { Ok(()) } else { Err(TooManyNames) };
                    self.session.ruled(done);
                }
                Order::Announce => {
                    assert!(!self.awaits_policy, "it is announced before its policy");
                    self.stamp += 1;
                    self.session.announced(self.intent, Stamp::from_u64(self.stamp));
                }
                Order::Open { .. } => self.opened += 1,
                Order::Shut { .. } => self.opened -= 1,
                _ => {}
            }
        }
        assert_eq!(self.unanswered, 0);
        assert!(self.opened <= LIMITS.routes && self.session.routed().len() <= self.opened);
        assert!(self.session.watched().len() <= LIMITS.watches);
    }
}
