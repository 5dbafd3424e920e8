//! `baton key`: who a peer is.

use std::io::Write as _;
use std::path::PathBuf;

use baton_client::Identity;
use clap::Subcommand;

use super::Failure;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Make a key, and print the id of its peer
    New {
        /// Where to keep it; a file that exists is not overwritten
        #[arg(long, default_value = "baton.key", value_name = "FILE")]
        out: PathBuf,
    },
    /// Print the id of a key's peer
    Show {
        /// The key file
        file: PathBuf,
    },
}

impl Verb {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let peer = match self {
            Self::New { out } => Identity::create(&out)?,
            Self::Show { file } => Identity::show(&file)?,
        };
        Ok(writeln!(std::io::stdout(), "{peer}")?)
    }
}
