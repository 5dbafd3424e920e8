//! `baton-cluster`: the command.

use std::process::ExitCode;

use clap::Parser as _;

mod cli;
mod up;

fn main() -> ExitCode {
    cli::run(cli::Command::parse())
}
