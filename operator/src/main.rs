//! `baton-operator`: the program.

use std::process::ExitCode;

use anyhow::Context as _;
use baton_operator::config::Config;
use baton_operator::run;
use clap::Parser as _;

#[expect(clippy::print_stderr, reason = "the last word of a program that cannot go on")]
fn main() -> ExitCode {
    match run(Config::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // In one line, without the backtrace that anyhow would add.
            eprintln!("baton-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: Config) -> anyhow::Result<()> {
    run::log(&config)?;
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        anyhow::bail!("another provider of cryptography was installed before ours");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("the runtime")?.block_on(run::run(config))
}
