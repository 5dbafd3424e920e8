//! `baton-cluster`: the command.

mod cli;
mod up;

fn main() -> std::process::ExitCode {
    cli::run()
}
