//! BLOCK while its peer sends: it stops with the next datagram, whichever way they come.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use baton_protocol::datagram::{self, Datagram, MAX_PAYLOAD};
use baton_protocol::detour::TAKEN_BY_CLIENT;
use baton_protocol::frame::{CAPABILITY_STREAMS, Frame, RuleVerb};
use baton_protocol::id::PeerId;
use baton_relay::Relay;
use tokio::task::JoinHandle;

use super::{PLACES, dropped, know, rule, set, stop};
use crate::detour::{narrow, taken};
use crate::peer::{Peer, Who};
use crate::pool;

/// How the receiver gets what the sender sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// It never says that it knows the alias.
    Long,
    Alias,
    /// By streams, in full length: the paths carry no such datagram.
    Stream,
}

/// A sender that goes on and on, and counts.
struct Traffic {
    sent: Arc<AtomicU32>,
    task: JoinHandle<()>,
}

impl Traffic {
    fn start(sender: &Peer, form: Form) -> Self {
        let (connection, sent) = (sender.connection.clone(), Arc::<AtomicU32>::default());
        let counter = sent.clone();
        let task = tokio::spawn(async move {
            let mut payload = vec![0; if form == Form::Stream { MAX_PAYLOAD } else { 100 }];
            loop {
                let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
                payload[..4].copy_from_slice(&number.to_be_bytes());
                let datagram = datagram::aliased(16, &payload);
                if form == Form::Stream {
                    let mut stream = connection.open_uni().await.unwrap();
                    stream.write_all(&datagram).await.unwrap();
                    stream.finish().unwrap();
                } else {
                    connection.send_datagram_wait(datagram).await.unwrap();
                }
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
        });
        Self { sent, task }
    }

    fn sent(&self) -> u32 {
        self.sent.load(Ordering::SeqCst)
    }
}

/// The number of the next datagram, and whether it came by an alias.
async fn number(receiver: &Peer, form: Form) -> (u32, bool) {
    let datagram =
        if form == Form::Stream { taken(receiver).await } else { receiver.datagram().await };
    let (payload, by_alias) = match datagram {
        Datagram::Aliased { payload, .. } => (payload, true),
        Datagram::Long { payload, .. } => (payload, false),
        other => panic!("{other:?}"),
    };
    (u32::from_be_bytes(*payload.first_chunk().unwrap()), by_alias)
}

async fn attach(relay: &Relay, number: u8, form: Form) -> Peer {
    if form == Form::Stream {
        return narrow(relay, &Who::new(number), CAPABILITY_STREAMS, TAKEN_BY_CLIENT).await;
    }
    Peer::attach(relay, &Who::new(number)).await.0
}

/// Blocks a sender in full flight and unblocks it. What it sent between must not come, and all else may.
async fn blocked_and_unblocked(
    relay: &Relay,
    home: &mut Peer,
    peer: PeerId,
    traffic: &Traffic,
    form: Form,
) {
    set(home, rule(RuleVerb::Block, peer)).await;
    // Every one from here on is sent after the relay has answered.
    let from = traffic.sent() + 1;
    let before = dropped(relay, "policy");
    pool::until("it is dropped", || dropped(relay, "policy") >= before + 50).await;
    let to = traffic.sent();
    set(home, rule(RuleVerb::Unblock, peer)).await;
    let since = traffic.sent() + 50;
    let mut came = BTreeSet::new();
    loop {
        let (number, by_alias) = number(home, form).await;
        came.insert(number);
        if number >= since {
            assert_eq!(by_alias, form != Form::Long, "{form:?}: its alias is as it was");
            break;
        }
    }
    let wrong: Vec<_> = came.range(from..=to.saturating_sub(1)).collect();
    assert!(wrong.is_empty(), "{form:?}: {wrong:?} of {from} to {to}");
}

#[tokio::test]
async fn a_peer_that_is_blocked_while_it_sends_is_heard_no_more_by_any_way() {
    for count in PLACES {
        for form in [Form::Long, Form::Alias, Form::Stream] {
            let relays = pool::linked(count).await;
            let mut home = attach(&relays[0], 1, form).await;
            let mut sender = attach(&relays[count - 1], 2, form).await;
            know(&relays, 2).await;
            sender.open(16, Who::new(1).id()).await;
            let traffic = Traffic::start(&sender, form);
            while number(&home, form).await.0 < 20 {}
            let Frame::Sender { alias, peer } = home.next().await else { panic!("no SENDER") };
            if form != Form::Long {
                home.say(Frame::SenderOk { alias }).await;
                while !number(&home, form).await.1 {}
            }
            for _ in 0..3 {
                blocked_and_unblocked(&relays[0], &mut home, peer, &traffic, form).await;
            }
            traffic.task.abort();
            stop(relays).await;
        }
    }
}
