//! `baton`: keys, tokens, and TCP, UDP and files between peers of a pool.

mod command;

use std::process::ExitCode;

use clap::Parser as _;

use crate::command::Baton;

#[expect(clippy::print_stderr, reason = "errors are for people")]
fn main() -> ExitCode {
    let baton = Baton::parse();
    let result = baton.start_log().and_then(|()| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(command::Failure::Runtime)?.block_on(baton.run())
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("baton: {error}");
            ExitCode::FAILURE
        }
    }
}
