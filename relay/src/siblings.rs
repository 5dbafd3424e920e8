//! Who the siblings are, written down for the next process of the same pod.
//!
//! The seeds are of the time when the pod was made: the first pod of a pool has none, and after a rollout the others' may all
//! be gone. A relay that is killed and comes back by itself must not serve before it is linked to those who are there now:
//! they do not miss it yet, and its peers would reach nobody.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::seeds::Seeds;

/// The file, in the folder that outlives the process.
const FILE: &str = "siblings";

/// See the [module](self).
#[derive(Clone, Debug)]
pub(crate) struct Siblings {
    path: PathBuf,
    /// What is in the file, if it is there.
    written: Option<Vec<SocketAddr>>,
}

impl Siblings {
    /// Reads what an earlier process has written, if there was one.
    pub(crate) async fn read(folder: &Path) -> Self {
        let path = folder.join(FILE);
        let written = match tokio::fs::read(&path).await {
            Ok(content) => serde_json::from_slice(&content)
                .inspect_err(|error| warn!(path = %path.display(), %error, "no list of siblings: it is ignored"))
                .ok(),
            // The first process of a pod finds none.
            Err(_) => None,
        };
        Self { path, written }
    }

    /// Whom to begin with: the siblings that an earlier process had, or else the seeds.
    pub(crate) fn or(&self, seeds: Seeds) -> Seeds {
        self.written.clone().map_or(seeds, |addresses| Seeds { addresses })
    }

    /// Writes down who they are now, if that has changed.
    pub(crate) async fn keep(&mut self, mut addresses: Vec<SocketAddr>) {
        addresses.sort_unstable();
        if self.written.as_ref() == Some(&addresses) {
            return;
        }
        if let Err(error) = write(&self.path, &addresses).await {
            warn!(path = %self.path.display(), %error, "the siblings cannot be kept: the next start begins with the seeds");
        }
        // Not tried again before they change.
        self.written = Some(addresses);
    }
}

/// All of it or nothing: the process may be killed in between.
async fn write(path: &Path, addresses: &[SocketAddr]) -> std::io::Result<()> {
    let new = path.with_extension("new");
    tokio::fs::write(&new, serde_json::to_vec(addresses)?).await?;
    tokio::fs::rename(&new, path).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seeds(addresses: &[&str]) -> Seeds {
        Seeds { addresses: addresses.iter().map(|address| address.parse().unwrap()).collect() }
    }

    #[tokio::test]
    async fn the_first_process_begins_with_the_seeds_and_the_next_with_the_last_siblings() {
        let folder = tempfile::tempdir().unwrap();
        let of_the_operator = seeds(&["10.0.0.1:4444"]);
        let mut first = Siblings::read(folder.path()).await;
        assert_eq!(first.or(of_the_operator.clone()), of_the_operator);
        let now = seeds(&["10.0.0.9:4444", "[fd00::7]:4444"]);
        first.keep(of_the_operator.addresses.clone()).await;
        first.keep(now.addresses.iter().rev().copied().collect()).await;
        assert_eq!(Siblings::read(folder.path()).await.or(of_the_operator.clone()), now);
        first.keep(Vec::new()).await;
        let alone = Siblings::read(folder.path()).await;
        assert_eq!(alone.or(of_the_operator), Seeds::default(), "they have gone");
    }

    #[tokio::test]
    async fn a_file_that_is_no_list_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), "[\"10.0.0").unwrap();
        let of_the_operator = seeds(&["10.0.0.1:4444"]);
        assert_eq!(
            Siblings::read(folder.path()).await.or(of_the_operator.clone()),
            of_the_operator
        );
    }
}
