//! Each target under the fuzzer for a moment, and the proof that the fuzzer is guided. `BATON_BLESS=1` keeps what it found.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod campaign;

use std::time::Duration;

use campaign::{PROGRAMS, fuzz, run};

/// What each target has in `make test`.
const TIME: Duration = Duration::from_secs(20);

macro_rules! targets {
    ($($test:ident $target:literal),+ $(,)?) => {
        $(#[test]
        fn $test() {
            fuzz($target, TIME);
        })+

        #[test]
        fn every_target_is_fuzzed() {
            assert_eq!([$($target),+], baton_fuzz::TARGETS.map(|target| target.name));
        }
    };
}

targets! {
    no_control_stream_breaks_the_decoder "frames",
    no_body_breaks_its_frame "bodies",
    no_datagram_breaks_its_reader "datagrams",
    no_packet_breaks_the_reader_of_probes "probes",
    no_first_bytes_break_the_relay "hello",
    no_access_token_breaks_the_gate "tokens",
    no_ticket_breaks_the_gate "tickets",
    no_client_breaks_the_state_machine "session",
    no_sibling_breaks_the_mesh "mesh",
    no_drain_flag_breaks_the_relay "flag",
    no_profile_breaks_the_client "profile",
    no_text_breaks_peer_ids "peer-ids",
}

/// Guided, it is found within seconds; by guessing alone it would take 2^32 inputs, and here both have two million and the same
/// random numbers.
#[test]
fn a_bug_behind_four_bytes_is_found_by_coverage_and_not_by_chance() {
    let target = baton_fuzz::guidance::TARGET;
    let artifacts = tempfile::tempdir().unwrap();
    let arguments = ["-runs=2000000".to_owned(), "-seed=1".to_owned()];
    let guided = run(&PROGRAMS.guided, &target, artifacts.path(), &arguments);
    assert!(guided.found, "{}", guided.said);
    assert!(guided.said.contains(baton_fuzz::guidance::SAYS), "{}", guided.said);
    let blind = run(&PROGRAMS.blind, &target, artifacts.path(), &arguments);
    assert!(!blind.found, "{}", blind.said);
    assert!(blind.said.contains("stat::number_of_executed_units: 2000000"), "{}", blind.said);
}
