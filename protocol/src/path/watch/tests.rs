#![expect(clippy::disallowed_methods, reason = "a test starts somewhere; only differences matter")]

use super::*;

const MS: Duration = Duration::from_millis(1);
const RTT: Duration = Duration::from_millis(80);

/// The address with this port.
fn address(port: u16) -> SocketAddr {
    ([192, 0, 2, 1], port).into()
}

/// A watch with a clock of its own; the client begins at port 1.
struct Scene {
    watch: PathWatch,
    now: Instant,
    challenges: u64,
}

impl Scene {
    fn new() -> Self {
        Self { watch: PathWatch::new(address(1), 42), now: Instant::now(), challenges: 0 }
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    fn place(&self, port: u16) -> Place {
        Place { address: address(port), challenges: self.challenges }
    }

    fn tick(&mut self, port: u16) -> Option<[u8; 8]> {
        self.watch.tick(self.place(port), RTT, self.now)
    }

    fn confirm(&mut self, attempt: u64, nonce: [u8; 8], port: u16) -> Answer {
        self.watch.confirm(attempt, nonce, self.place(port), RTT, self.now)
    }

    /// The nonce that an announced attempt is asked for.
    fn asked(&mut self, attempt: u64, port: u16) -> [u8; 8] {
        match self.confirm(attempt, [0; 8], port) {
            Answer::Ask(nonce) => nonce,
            other => panic!("{other:?}"),
        }
    }

    fn answered(&mut self, nonce: [u8; 8], port: u16) {
        self.watch.answered(nonce, self.place(port), self.now);
    }

    fn report(&mut self, attempt: u64, failed: Option<FailureClass>, port: u16) {
        let report = PathReport { attempt, failed, took: 7 * MS };
        self.watch.report(report, address(port), self.now);
    }

    fn ended(&mut self) -> Vec<(Kind, Option<FailureClass>)> {
        std::iter::from_fn(|| self.watch.poll_ended()).map(|end| (end.kind, end.failed)).collect()
    }

    fn nothing_ended(&mut self) {
        assert_eq!(self.ended(), []);
    }
}

mod rebindings {
    use super::*;

    #[test]
    fn a_client_that_stays_is_left_alone() {
        let mut scene = Scene::new();
        assert_eq!(scene.tick(1), None);
        scene.watch.session_ended(FailureClass::IdleTimeout, scene.now);
        scene.nothing_ended();
    }

    #[test]
    fn one_counts_when_the_echo_is_answered_at_the_new_address() {
        let mut scene = Scene::new();
        let nonce = scene.tick(2).unwrap();
        scene.wait(RTT / 2);
        assert_eq!(scene.tick(2), None, "one echo per round trip");
        scene.wait(RTT / 2);
        assert_eq!(scene.tick(2), Some(nonce), "repeated until it is answered");
        scene.answered([0; 8], 2);
        scene.nothing_ended();
        scene.wait(RTT);
        scene.answered(nonce, 2);
        let ended = scene.watch.poll_ended().unwrap();
        assert_eq!(ended, Ended { kind: Kind::Rebind, failed: None, took: RTT * 2 });
        scene.answered(nonce, 2);
        scene.nothing_ended();
        assert_eq!(scene.tick(2), None);
        assert!(!scene.watch.is_asking());
    }

    #[test]
    fn an_echo_answered_after_the_path_reverted_is_worth_nothing() {
        let mut scene = Scene::new();
        let nonce = scene.tick(2).unwrap();
        scene.answered(nonce, 1);
        scene.nothing_ended();
        scene.wait(DEADLINE);
        assert_eq!(scene.tick(1), None);
        assert_eq!(scene.ended(), [(Kind::Rebind, Some(FailureClass::Reverted))]);
    }

    #[test]
    fn a_path_that_never_answers_fails_once() {
        let mut scene = Scene::new();
        scene.tick(2);
        scene.wait(DEADLINE);
        assert_eq!(scene.tick(2), None);
        assert_eq!(scene.ended(), [(Kind::Rebind, Some(FailureClass::ValidationTimeout))]);
        scene.wait(DEADLINE);
        assert_eq!(scene.tick(2), None);
        scene.nothing_ended();
    }

    #[test]
    fn an_address_that_flaps_is_one_attempt() {
        let mut scene = Scene::new();
        let mut nonces = std::collections::BTreeSet::new();
        for step in 0..20 {
            nonces.extend(scene.tick(if step % 2 == 0 { 2 } else { 1 }));
            scene.wait(RTT);
        }
        assert_eq!(nonces.len(), 1);
        scene.answered(nonces.pop_first().unwrap(), 2);
        assert_eq!(scene.ended(), [(Kind::Rebind, None)]);
    }

    #[test]
    fn a_client_that_moves_on_before_it_answers_is_one_attempt() {
        let mut scene = Scene::new();
        let nonce = scene.tick(2).unwrap();
        scene.wait(RTT);
        let newer = scene.tick(3).unwrap();
        scene.answered(nonce, 3);
        scene.nothing_ended();
        scene.wait(RTT);
        scene.answered(newer, 3);
        assert_eq!(scene.watch.poll_ended().unwrap().took, RTT * 2);
    }

    #[test]
    fn a_session_that_ends_takes_its_attempt_with_it() {
        let mut scene = Scene::new();
        scene.tick(2);
        scene.wait(RTT);
        scene.watch.session_ended(FailureClass::Superseded, scene.now);
        assert_eq!(scene.ended(), [(Kind::Rebind, Some(FailureClass::Superseded))]);
    }

    #[test]
    fn a_path_that_was_dead_for_a_second_is_why_the_attempt_failed_however_the_session_ends() {
        let mut scene = Scene::new();
        for _ in 0..13 {
            scene.tick(2);
            scene.wait(RTT);
        }
        scene.watch.session_ended(FailureClass::ApplicationCloseRemote, scene.now);
        assert_eq!(scene.ended(), [(Kind::Rebind, Some(FailureClass::ValidationTimeout))]);
    }
}

mod announced {
    use super::*;

    #[test]
    fn one_succeeds_when_it_is_valid_here_and_the_client_says_so() {
        let mut scene = Scene::new();
        let nonce = scene.asked(1, 2);
        scene.wait(RTT);
        assert_eq!(scene.confirm(1, nonce, 2), Answer::Confirmed);
        assert_eq!(scene.confirm(1, [0; 8], 2), Answer::Confirmed, "its answer may be lost");
        scene.nothing_ended();
        scene.wait(RTT);
        scene.report(1, None, 2);
        let ended = scene.watch.poll_ended().unwrap();
        assert_eq!(ended, Ended { kind: Kind::Path, failed: None, took: RTT });
        scene.report(1, None, 2);
        scene.report(1, Some(FailureClass::Other), 2);
        scene.nothing_ended();
        assert_eq!(scene.tick(2), None, "the address is known to work");
    }

    #[test]
    fn it_counts_as_failed_where_the_client_took_it_back_although_it_was_valid_here() {
        let mut scene = Scene::new();
        let nonce = scene.asked(1, 2);
        assert_eq!(scene.confirm(1, nonce, 2), Answer::Confirmed);
        scene.report(1, Some(FailureClass::ValidationTimeout), 1);
        assert_eq!(scene.ended(), [(Kind::Path, Some(FailureClass::ValidationTimeout))]);
        // It is back where it was, which is a change of address for the relay, too.
        assert!(scene.tick(1).is_some());
    }

    #[test]
    fn a_success_that_the_relay_has_not_seen_is_none() {
        let mut scene = Scene::new();
        scene.report(1, None, 1);
        scene.nothing_ended();
        scene.asked(2, 2);
        scene.report(2, None, 2);
        assert_eq!(scene.ended(), [(Kind::Path, Some(FailureClass::Other))]);
    }

    #[test]
    fn one_that_never_arrived_is_counted_once_by_its_report() {
        let mut scene = Scene::new();
        for _ in 0..3 {
            scene.report(1, Some(FailureClass::ProbeTimeout), 1);
        }
        let ended = scene.watch.poll_ended().unwrap();
        let failed = Some(FailureClass::ProbeTimeout);
        assert_eq!(ended, Ended { kind: Kind::Path, failed, took: 7 * MS });
        scene.nothing_ended();
    }

    #[test]
    fn what_is_said_of_it_later_than_of_the_next_one_still_counts() {
        let mut scene = Scene::new();
        let nonce = scene.asked(1, 2);
        assert_eq!(scene.confirm(1, nonce, 2), Answer::Confirmed);
        // 2 never arrived; 3 is under way before the reports of 1 and 2 are here.
        let nonce = scene.asked(3, 3);
        scene.report(2, Some(FailureClass::ProbeTimeout), 3);
        scene.report(1, None, 3);
        assert_eq!(scene.confirm(3, nonce, 3), Answer::Confirmed);
        scene.report(3, None, 3);
        assert_eq!(
            scene.ended(),
            [
                (Kind::Path, Some(FailureClass::ProbeTimeout)),
                (Kind::Path, None),
                (Kind::Path, None)
            ]
        );
    }

    #[test]
    fn a_client_that_counts_from_elsewhere_on_is_understood() {
        let mut scene = Scene::new();
        scene.report(1_000_000, Some(FailureClass::ProbeTimeout), 1);
        assert_eq!(scene.ended().len(), 1);
        scene.report(999_999, Some(FailureClass::ProbeTimeout), 1);
        assert_eq!(scene.ended().len(), 1);
        scene.report(1, Some(FailureClass::ProbeTimeout), 1);
        scene.nothing_ended();
        for attempt in [2_000_000, 3_000_000, u64::MAX] {
            scene.report(attempt, Some(FailureClass::ProbeTimeout), 1);
            assert_eq!(scene.ended().len(), 1);
            assert!(scene.watch.open.len() <= MAX_OPEN);
        }
    }

    #[test]
    fn its_packets_may_come_before_it_is_announced() {
        let mut scene = Scene::new();
        let nonce = scene.tick(2).unwrap();
        scene.wait(RTT);
        assert_eq!(scene.confirm(1, nonce, 2), Answer::Confirmed, "it is the same attempt");
        scene.report(1, None, 2);
        assert_eq!(scene.ended(), [(Kind::Path, None)]);
    }

    #[test]
    fn one_that_follows_a_flap_to_elsewhere_has_all_of_its_time() {
        let mut scene = Scene::new();
        scene.tick(2);
        scene.wait(DEADLINE - RTT);
        scene.tick(1);
        let nonce = scene.asked(1, 3);
        scene.wait(RTT * 2);
        assert_eq!(scene.tick(3), Some(nonce));
        assert_eq!(scene.confirm(1, nonce, 3), Answer::Confirmed);
        scene.report(1, None, 3);
        let ended = scene.watch.poll_ended().unwrap();
        assert_eq!(ended, Ended { kind: Kind::Path, failed: None, took: RTT * 2 });
    }

    #[test]
    fn nobody_who_knows_some_nonces_knows_the_next() {
        let nonces = |seed| {
            let mut watch = PathWatch::new(address(1), seed);
            [(); 100].map(|()| watch.next_nonce())
        };
        let (one, other) = (nonces(1), nonces(2));
        let all: std::collections::BTreeSet<_> = one.iter().chain(&other).collect();
        assert_eq!(all.len(), 200);
    }

    #[test]
    fn one_over_the_address_that_it_has_is_one_too() {
        let mut scene = Scene::new();
        let nonce = scene.asked(1, 1);
        assert_eq!(scene.confirm(1, nonce, 1), Answer::Confirmed);
        scene.report(1, None, 1);
        assert_eq!(scene.ended(), [(Kind::Path, None)]);
    }

    #[test]
    fn what_was_asked_at_another_address_proves_nothing() {
        let mut scene = Scene::new();
        let nonce = scene.asked(1, 2);
        let Answer::Ask(newer) = scene.confirm(1, nonce, 3) else { panic!("it moved on") };
        assert_ne!(nonce, newer);
        assert_eq!(scene.confirm(1, newer, 3), Answer::Confirmed);
    }

    /// The stack goes back before the echo has left, which so arrives over the old path, and comes again with the answer to it.
    #[test]
    fn what_was_asked_before_the_stack_went_back_and_came_again_proves_nothing() {
        let mut scene = Scene::new();
        scene.challenges = 2;
        let nonce = scene.asked(1, 2);
        assert_eq!(scene.tick(1), None, "it went back");
        scene.challenges = 4;
        let Answer::Ask(newer) = scene.confirm(1, nonce, 2) else { panic!("it was elsewhere") };
        assert_ne!(nonce, newer);
        scene.challenges = 6;
        assert_ne!(scene.tick(2), Some(newer), "and again");
        scene.answered(newer, 2);
        assert_eq!(scene.ended(), []);
        let last = scene.asked(1, 2);
        assert_eq!(scene.confirm(1, last, 2), Answer::Confirmed, "it stayed");
    }

    #[test]
    fn nobody_confirms_what_was_never_asked() {
        let mut scene = Scene::new();
        scene.asked(1, 2);
        let before = scene.watch.pending.as_ref().unwrap().nonce;
        scene.watch.moved_on(scene.place(3), scene.now);
        assert_ne!(scene.watch.pending.as_ref().unwrap().nonce, before);
        // A guess of a nonce that has not left yet.
        let mut scene = Scene::new();
        scene.watch.look_at(scene.place(2), scene.now, None);
        let nonce = scene.watch.pending.as_ref().unwrap().nonce;
        scene.answered(nonce, 2);
        scene.nothing_ended();
    }

    #[test]
    fn one_that_nobody_speaks_of_any_more_is_looked_at_when_its_time_is_over() {
        let mut scene = Scene::new();
        scene.report(3, None, 1);
        assert_eq!(scene.watch.poll_timeout(), None, "the two before it were never seen");
        let start = scene.now;
        let nonce = scene.asked(4, 2);
        scene.wait(10 * MS);
        assert_eq!(scene.confirm(4, nonce, 2), Answer::Confirmed);
        scene.asked(5, 3);
        assert_eq!(scene.watch.poll_timeout(), Some(start + DEADLINE), "it may yet be reported");
        scene.now = start + DEADLINE;
        scene.tick(3);
        assert_eq!(scene.ended(), [(Kind::Path, None)]);
        assert_eq!(scene.watch.poll_timeout(), Some(start + 10 * MS + DEADLINE));
    }

    #[test]
    fn one_without_a_report_ends_as_the_relay_saw_it() {
        let mut scene = Scene::new();
        let nonce = scene.asked(1, 2);
        assert_eq!(scene.confirm(1, nonce, 2), Answer::Confirmed);
        scene.wait(DEADLINE);
        scene.tick(2);
        assert_eq!(scene.ended(), [(Kind::Path, None)]);
        scene.asked(2, 3);
        scene.wait(DEADLINE);
        scene.tick(3);
        assert_eq!(scene.ended(), [(Kind::Path, Some(FailureClass::ValidationTimeout))]);
        scene.report(1, None, 3);
        scene.report(2, Some(FailureClass::Other), 3);
        scene.nothing_ended();
        assert_eq!(scene.tick(3), None);
    }

    #[test]
    fn the_end_of_a_session_ends_all_of_its_attempts_once() {
        let mut scene = Scene::new();
        let nonce = scene.asked(1, 2);
        assert_eq!(scene.confirm(1, nonce, 2), Answer::Confirmed);
        scene.asked(2, 3);
        scene.watch.session_ended(FailureClass::IdleTimeout, scene.now);
        let ended = scene.ended();
        assert_eq!(ended, [(Kind::Path, Some(FailureClass::IdleTimeout)), (Kind::Path, None)]);
        scene.watch.session_ended(FailureClass::IdleTimeout, scene.now);
        scene.nothing_ended();
    }

    #[test]
    fn one_that_is_forgotten_for_later_ones_has_ended_and_does_not_end_again() {
        let mut scene = Scene::new();
        scene.asked(1, 2);
        scene.report(9, Some(FailureClass::ProbeTimeout), 2);
        scene.watch.session_ended(FailureClass::Other, scene.now);
        assert_eq!(scene.ended().len(), 2);
    }

    #[test]
    fn no_more_are_remembered_than_may_be_open() {
        let mut scene = Scene::new();
        let mut ended = 0;
        for attempt in 1..=1000 {
            scene.asked(attempt, 2);
            ended += scene.ended().len();
            assert!(scene.watch.open.len() <= MAX_OPEN);
        }
        scene.watch.session_ended(FailureClass::Other, scene.now);
        assert_eq!(ended + scene.ended().len(), 1000, "and each has one end");
    }
}

mod any_order {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// What may happen.
    #[derive(Clone, Debug)]
    enum Step {
        Tick(u16),
        Confirm { attempt: u64, right: bool, port: u16 },
        Answer { right: bool, port: u16 },
        Report { attempt: u64, ok: bool, port: u16 },
        Wait(u16),
    }

    fn step() -> impl Strategy<Value = Step> {
        let (port, attempt) = (1_u16..5, 1_u64..12);
        prop_oneof![
            port.clone().prop_map(Step::Tick),
            (attempt.clone(), any::<bool>(), port.clone())
                .prop_map(|(attempt, right, port)| Step::Confirm { attempt, right, port }),
            (any::<bool>(), port.clone()).prop_map(|(right, port)| Step::Answer { right, port }),
            (attempt, any::<bool>(), port).prop_map(|(attempt, ok, port)| Step::Report {
                attempt,
                ok,
                port
            }),
            (0_u16..20_000).prop_map(Step::Wait),
        ]
    }

    proptest! {
        #[test]
        fn every_number_has_one_end_at_most_and_nothing_grows(steps in proptest::collection::vec(step(), 0..200), by_time: bool) {
            let mut scene = Scene::new();
            let (mut announced, mut begun, mut ended) = (BTreeSet::new(), BTreeSet::new(), 0);
            for step in steps {
                let nonce = |scene: &Scene, right| match &scene.watch.pending {
                    Some(pending) if right => pending.nonce,
                    _ => [0; 8],
                };
                match step {
                    Step::Tick(port) => drop(scene.tick(port)),
                    Step::Confirm { attempt, right, port } => {
                        announced.insert(attempt);
                        let nonce = nonce(&scene, right);
                        if scene.confirm(attempt, nonce, port) != Answer::Nothing {
                            begun.insert(attempt);
                        }
                    }
                    Step::Answer { right, port } => {
                        let nonce = nonce(&scene, right);
                        scene.answered(nonce, port);
                    }
                    Step::Report { attempt, ok, port } => {
                        announced.insert(attempt);
                        scene.report(attempt, (!ok).then_some(FailureClass::ProbeTimeout), port);
                    }
                    Step::Wait(ms) => scene.wait(MS * ms.into()),
                }
                ended += scene.ended().iter().filter(|(kind, _)| *kind == Kind::Path).count();
                prop_assert!(ended <= announced.len());
                prop_assert!(scene.watch.open.len() <= MAX_OPEN);
            }
            if by_time {
                // Whatever is under way ends when it says, and nothing else is needed.
                while let Some(at) = scene.watch.poll_timeout() {
                    scene.now = scene.now.max(at);
                    scene.tick(1);
                    prop_assert!(scene.watch.poll_timeout().is_none_or(|next| next > at));
                }
                prop_assert!(scene.watch.open.values().all(|open| open.since().is_none()));
            }
            scene.watch.session_ended(FailureClass::Other, scene.now);
            let rest = scene.ended();
            ended += rest.iter().filter(|(kind, _)| *kind == Kind::Path).count();
            prop_assert!((begun.len()..=announced.len()).contains(&ended), "whatever began has an end");
            prop_assert!(scene.watch.pending.is_none() && scene.watch.open.is_empty());
        }
    }
}
