//! How often this relay was started: a counter in a folder that outlives the process, and a random start where there is none.

use std::path::Path;

use tracing::warn;

/// Epochs have 24 bits and are compared by serial arithmetic (RFC 1982).
const MASK: u32 = 0x00ff_ffff;

/// The epoch of a process that starts now; the next one gets the next.
pub(crate) fn next(folder: &Path) -> u32 {
    let path = folder.join("epoch");
    let last = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<u32>().ok());
    let epoch =
        last.map_or_else(|| rand::random::<u32>() & MASK, |last| last.wrapping_add(1) & MASK);
    if let Err(error) = std::fs::write(&path, epoch.to_string()) {
        warn!(path = %path.display(), %error, "the epoch cannot be kept: the next start gets a random one");
    }
    epoch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_is_the_next_epoch_and_the_last_is_followed_by_zero() {
        let folder = tempfile::tempdir().unwrap();
        let first = next(folder.path());
        assert_eq!(next(folder.path()), (first + 1) & MASK);
        std::fs::write(folder.path().join("epoch"), MASK.to_string()).unwrap();
        assert_eq!(next(folder.path()), 0);
        assert!(next(&folder.path().join("nowhere")) <= MASK);
    }
}
