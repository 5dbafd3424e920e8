//! The command `baton` between applications, on a fleet of real relays on loopback, while relays go and addresses change.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod applications;
mod baton;
mod carry;
mod file;
