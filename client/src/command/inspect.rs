//! `baton token inspect`: what a token says.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use baton_client::token::{TokenKey, inspect, now_unix};

use super::Failure;

/// Far more than a relay takes.
const MAX_FILE: u64 = 1024 * 1024;

#[derive(clap::Args)]
pub(crate) struct Inspect {
    /// The file with the token; without it, it is read from standard input
    #[arg(value_name = "FILE")]
    token: Option<PathBuf>,
    /// A file with a key that may have made it, named as in the Secret <pool>-auth: *.pem and *.json are public keys, all
    /// else is a shared secret; may be given several times
    #[arg(long, value_name = "FILE")]
    key_file: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let token = match &self.token {
            Some(path) => read(path)?,
            None => {
                let mut bytes = Vec::new();
                std::io::stdin().take(MAX_FILE).read_to_end(&mut bytes).map_err(|source| {
                    Failure::TokenFile { path: "standard input".into(), source }
                })?;
                bytes
            }
        };
        let mut keys = Vec::new();
        for path in &self.key_file {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let found = TokenKey::read(&name, &read(path)?);
            keys.extend(found.map_err(|fault| Failure::Key { path: path.clone(), fault })?);
        }
        let inspection = inspect(&String::from_utf8_lossy(&token), &keys, now_unix())?;
        let mut out = std::io::stdout();
        if self.json {
            let json = serde_json::to_string_pretty(&inspection).map_err(std::io::Error::from)?;
            writeln!(out, "{json}")?;
        } else {
            writeln!(out, "{inspection}")?;
        }
        match inspection.problem {
            Some(problem) => Err(Failure::Unverified(problem)),
            None => Ok(()),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |source| Failure::TokenFile { path: path.into(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
