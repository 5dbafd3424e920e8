//! The relay as a program.

use std::process::ExitCode;

use baton_relay::config::{Flags, FlagsError};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let line: Vec<_> = std::env::args_os().collect();
    let flags = match Flags::load(&line) {
        Ok(flags) => flags,
        Err(FlagsError::Usage(error)) => error.exit(),
        Err(FlagsError::File(errors)) => return fail(&errors.into()),
    };
    let filter = match EnvFilter::try_new(&flags.log) {
        Ok(filter) => filter,
        Err(error) => {
            return fail(&anyhow::anyhow!(
                "--log '{}' is no filter: {error}; try `info` or `baton_relay=debug`",
                flags.log
            ));
        }
    };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    // One thread carries all sessions: cheaper than several that share them, and it gives back-pressure
    // (docs/decisions/0004).
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(baton_relay::program::run(line, flags)))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

#[expect(clippy::print_stderr, reason = "the last word of a program that cannot go on")]
fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("baton-relay: {error:#}");
    ExitCode::FAILURE
}
