//! Whatever happens, in whatever order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What the world does to a client, about one of its newest connections.
#[derive(Clone, Debug)]
enum Fate {
    Welcome,
    Refuse(Retry),
    TurnAway,
    FailDial,
    GoAway,
    Cancel,
    Capabilities,
    Reclaimed,
    ActiveOk,
    MovedOk,
    Close,
    Suspect,
    Heard,
    Wait(u64),
}

fn fates() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Welcome),
        1 => Just(Fate::Refuse(Retry::Fresh)),
        1 => Just(Fate::Refuse(Retry::After(Duration::from_millis(50)))),
        1 => Just(Fate::TurnAway),
        1 => Just(Fate::FailDial),
        3 => Just(Fate::GoAway),
        1 => Just(Fate::Cancel),
        3 => Just(Fate::Capabilities),
        2 => Just(Fate::Reclaimed),
        4 => Just(Fate::ActiveOk),
        3 => Just(Fate::MovedOk),
        1 => Just(Fate::Close),
        1 => Just(Fate::Suspect),
        1 => Just(Fate::Heard),
        4 => (0_u64..8000).prop_map(Fate::Wait),
    ]
}

/// A world of connections, judging what the client does to them.
#[derive(Default)]
struct World {
    open: BTreeMap<u64, bool>,
    newest: u64,
    in_use: Option<u64>,
    sequence: u64,
}

impl World {
    fn obey(&mut self, client: &mut Client) {
        while let Some(output) = client.attachment.poll_output() {
            match output {
                Output::Dial { slot, intent, ticket, .. } => {
                    assert_eq!(ticket.is_some(), intent != Intent::Fresh);
                    assert!(
                        self.open.insert(slot.0, false).is_none(),
                        "a connection is dialed once"
                    );
                    self.newest = slot.0;
                }
                Output::Send { slot, frame } => {
                    assert_eq!(
                        self.open.get(&slot.0),
                        Some(&true),
                        "{} to a connection without WELCOME",
                        frame.name()
                    );
                }
                Output::Use { slot } => {
                    assert_eq!(self.open.get(&slot.0), Some(&true));
                    self.in_use = Some(slot.0);
                }
                Output::Close { slot, .. } => {
                    assert!(self.open.remove(&slot.0).is_some(), "closed twice: {slot:?}");
                }
                Output::Event(_) => {}
            }
        }
        assert!(self.open.len() <= 3, "home, next and old at most: {:?}", self.open);
        if let Some(home) = client.attachment.home() {
            assert_eq!(self.in_use, Some(home.0), "what is used is home");
        }
    }

    fn happen(&mut self, client: &mut Client, fate: &Fate) {
        let (slot, now) = (Slot(self.newest), client.now);
        let known = self.open.get(&self.newest).copied();
        let home = client.attachment.home();
        match fate {
            Fate::Welcome if known == Some(false) => {
                self.open.insert(slot.0, true);
                client.attachment.handle_welcome(slot, &welcome(NEW, slot.0), now);
            }
            Fate::Refuse(retry) if known == Some(false) => {
                client.attachment.handle_refused(slot, refused(RefusalCode::Full, *retry), now);
            }
            Fate::TurnAway | Fate::FailDial if known == Some(false) => {
                self.open.remove(&slot.0);
                let turned_away = matches!(fate, Fate::TurnAway);
                let failed = DialFailure::Failed(FailureClass::Other);
                let failure = if turned_away { DialFailure::TurnedAway } else { failed };
                client.attachment.handle_dial_failure(slot, failure, now);
            }
            Fate::GoAway if known == Some(true) => {
                self.sequence += 1;
                client.frame(slot.0, goaway(self.sequence, Duration::from_millis(300)));
            }
            Fate::Cancel if known == Some(true) => {
                client.frame(slot.0, Frame::GoAwayCancel { sequence: self.sequence })
            }
            Fate::Capabilities if known == Some(true) => {
                client.frame(slot.0, Frame::Capabilities { known: CAPABILITY_RECLAIM });
            }
            Fate::Reclaimed => {
                let (stamp, ticket) = (Stamp::from_u64(slot.0), Bytes::from_static(b"again"));
                let frame = Frame::Reclaimed { stamp, ticket };
                home.into_iter().for_each(|home| client.frame(home.0, frame.clone()));
            }
            Fate::ActiveOk if known == Some(true) => {
                client.frame(slot.0, Frame::ActiveOk { stamp: Stamp::from_u64(slot.0) })
            }
            Fate::MovedOk => {
                let oldest = self.open.keys().next().copied();
                oldest.into_iter().for_each(|oldest| client.frame(oldest, Frame::MovedOk));
            }
            Fate::Close if known == Some(true) => {
                self.open.remove(&slot.0);
                client.closed(slot.0, Closed::ByRelay(CloseCode::GoawayTimeout));
            }
            Fate::Suspect => {
                home.into_iter().for_each(|home| client.attachment.handle_suspect(home, now))
            }
            Fate::Heard => home.into_iter().for_each(|home| client.attachment.handle_heard(home)),
            Fate::Wait(ms) => client.pass(Duration::from_millis(*ms)),
            _ => {}
        }
        self.obey(client);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Whatever the world does: connections are dialed once and closed once, nothing is sent where nobody listens, what is in
    /// use is home, and a world that turns kind finds the client attached soon.
    #[test]
    fn a_client_survives_any_world(fates in prop::collection::vec(fates(), 1..60)) {
        let mut client = Client::new();
        let mut world = World::default();
        world.obey(&mut client);
        for fate in &fates {
            world.happen(&mut client, fate);
        }
        for _ in 0..20 {
            for fate in [Fate::Heard, Fate::Welcome, Fate::ActiveOk, Fate::MovedOk, Fate::Wait(11_000)] {
                world.happen(&mut client, &fate);
            }
        }
        prop_assert!(client.attachment.home().is_some());
        prop_assert_eq!(world.open.len(), 1, "and nothing else is left open: {:?}", world.open);
        prop_assert_eq!(client.attachment.poll_timeout(), None);
    }
}
