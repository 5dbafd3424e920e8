//! What the demo leaves on disk while it runs.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A folder that goes with the demo.
#[derive(Debug)]
pub(crate) struct Files {
    folder: PathBuf,
}

impl Files {
    /// Makes the folder, with a file of so many random bytes.
    pub(crate) async fn make(size: u64) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("baton-demo-{}", std::process::id()));
        tokio::fs::create_dir_all(&folder).await?;
        let files = Self { folder };
        let random = tokio::fs::File::open("/dev/urandom").await?;
        let mut file = tokio::fs::File::create(files.original()).await?;
        tokio::io::copy(&mut random.take(size), &mut file).await?;
        file.flush().await?;
        Ok(files)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What is served.
    pub(crate) fn original(&self) -> PathBuf {
        self.path("file")
    }

    /// What comes out.
    pub(crate) fn copy(&self) -> PathBuf {
        self.path("copy")
    }

    /// Whether what came out is what was served.
    pub(crate) async fn are_equal(&self) -> anyhow::Result<bool> {
        Ok(checksum(&self.original()).await? == checksum(&self.copy()).await?)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // Left behind, it costs only disk.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn checksum(path: &Path) -> anyhow::Result<[u8; 32]> {
    let mut file = tokio::fs::File::open(path).await.with_context(|| path.display().to_string())?;
    let mut hasher = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        let length = file.read(&mut block).await?;
        if length == 0 {
            return Ok(hasher.finalize().into());
        }
        hasher.update(&block[..length]);
    }
}
