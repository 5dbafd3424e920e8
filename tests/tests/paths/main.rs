//! Sessions whose clients change their addresses, over networks that lose, reorder, repeat, delay, rebind and swallow packets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod follow;
mod gaps;
mod hostile;
mod one_way;
mod rebinding;
mod seeds;
mod stage;
