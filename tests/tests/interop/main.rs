//! Whether docs/protocol.md is enough to write a client by: one in Python, `tests/interop`, that was written from it alone, attaches
//! to real relays, is handed over between them, and speaks with the real `baton`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod ground;
mod python;

use std::time::Instant;

use baton_tests::figures;
use ground::Ground;

#[tokio::test]
async fn a_client_written_from_the_document_alone_understands_relays_and_peers_and_is_understood() {
    let python = python::with_packages();
    let ground = Ground::lay().await;
    let began = Instant::now();
    let tests = python::run_tests(&python, &ground.description());
    let took = began.elapsed().as_secs();
    figures::record("interop", "tests of the client in Python", format!("{tests} in {took} s"));
}
