//! Inputs that the fuzzer found, as few as reach what it reached: `corpus/<target>.hex`, one on each line.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;

/// A corpus that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// Its file cannot be read or written.
    #[error("the corpus {} cannot be read or written", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is no hexadecimal.
    #[error("line {line} of {} is no hexadecimal", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
}

fn path(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(format!("{target}.hex"))
}

/// The kept inputs of a target; none if nothing was kept yet.
pub fn read(target: &str) -> Result<Vec<Vec<u8>>, CorpusError> {
    let path = path(target);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(CorpusError::File { path, source }),
    };
    let lines = text.lines().enumerate();
    lines
        .map(|(n, line)| {
            let bytes = HEXLOWER.decode(line.as_bytes());
            bytes.map_err(|_| CorpusError::Line { path: path.clone(), line: n + 1 })
        })
        .collect()
}

/// Keeps these inputs, and no others.
pub fn write(target: &str, inputs: &BTreeSet<Vec<u8>>) -> Result<(), CorpusError> {
    let path = path(target);
    let text: String = inputs.iter().map(|input| HEXLOWER.encode(input) + "\n").collect();
    std::fs::write(&path, text).map_err(|source| CorpusError::File { path, source })
}
