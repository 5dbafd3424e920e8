//! What strangers may send, and the code that reads it: one function for each, which panics if something is not as it must be.
//!
//! - [`TARGETS`]: their names. [`run`] runs one.
//! - [`seeds`]: inputs to begin with, from the protocol's test vectors; [`corpus`]: inputs that were found, and are kept.
//! - [`guidance`]: a bug that only a guided fuzzer finds.
//!
//! The library is plain Rust. The program (feature `fuzzer`) puts it under libFuzzer; the tests build that program with the
//! coverage hooks of `instrument.sh` and run it.

pub mod corpus;
pub mod guidance;
pub mod seeds;
mod targets;

/// A fuzz target.
#[derive(Clone, Copy)]
pub struct Target {
    /// What it is called.
    pub name: &'static str,
    /// The longest input that makes sense, in bytes.
    pub max_length: usize,
    /// Takes an input.
    pub run: fn(&[u8]),
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Every target.
pub const TARGETS: [Target; 12] = [
    Target { name: "frames", max_length: 20_000, run: targets::frames::stream },
    Target { name: "bodies", max_length: 4_096, run: targets::frames::body },
    Target { name: "datagrams", max_length: 1_500, run: targets::datagrams::datagram },
    Target { name: "probes", max_length: 1_500, run: targets::probes::probe },
    Target { name: "hello", max_length: 20_000, run: targets::hello::greeting },
    Target { name: "tokens", max_length: 2_048, run: targets::hello::token },
    Target { name: "tickets", max_length: 512, run: targets::hello::ticket },
    Target { name: "session", max_length: 4_096, run: targets::session::session },
    Target { name: "mesh", max_length: 4_096, run: targets::mesh::mesh },
    Target { name: "flag", max_length: 5_000, run: targets::files::flag },
    Target { name: "profile", max_length: 8_192, run: targets::files::profile },
    Target { name: "peer-ids", max_length: 256, run: targets::files::peer_id },
];

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    let all = TARGETS.into_iter().chain([guidance::TARGET]);
    all.into_iter().find(|target| target.name == name)
}
