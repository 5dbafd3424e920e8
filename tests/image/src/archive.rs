//! The archive: one layer, a configuration, a manifest, and the two indexes that tools look for.

use std::fmt;
use std::io::{self, Write};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{Binary, ImageName};

/// The user that every image runs as unless the pod says otherwise: "nonroot", as the distroless
/// images number it.
const USER: &str = "65532:65532";

/// Every time stamp in an archive: the archive must not depend on the clock.
const EPOCH: &str = "1970-01-01T00:00:00Z";

/// One program as an image.
#[derive(Debug, Clone)]
pub struct Image {
    /// The name under which the archive loads.
    pub name: ImageName,
    /// The program, put at `/<program>` and made the entry point.
    pub program: String,
    /// The program's file.
    pub binary: Binary,
    /// OCI labels, in the order given.
    pub labels: Vec<(String, String)>,
    /// Environment variables of the program, in the order given.
    pub environment: Vec<(String, String)>,
}

/// A SHA-256 content digest, written `sha256:<hex>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest(String);

impl Digest {
    fn of(bytes: &[u8]) -> Self {
        let hash = Sha256::digest(bytes);
        Self(hash.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Where an OCI layout keeps the bytes of this digest.
    fn blob_path(&self) -> String {
        format!("blobs/sha256/{}", self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl Image {
    /// Writes the archive to `out` and returns the digest of its manifest, which is the image's
    /// identity in a registry.
    ///
    /// # Errors
    /// What writing to `out` returns.
    pub fn archive(&self, out: impl Write) -> io::Result<Digest> {
        let layer = self.layer()?;
        let layer_gzip = gzip(&layer)?;
        let config = self.config(&Digest::of(&layer)).to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &layer_gzip)],
        })
        .to_string()
        .into_bytes();
        let mut tar = tar::Builder::new(out);
        let mut blobs = [&layer_gzip, &config, &manifest];
        blobs.sort_by_key(|blob| Digest::of(blob).0);
        for blob in blobs {
            append(&mut tar, &Digest::of(blob).blob_path(), 0o644, blob)?;
        }
        append(&mut tar, "index.json", 0o644, self.index(&manifest).to_string().as_bytes())?;
        // What `docker load` reads where it does not read the OCI layout.
        let docker = json!([{
            "Config": Digest::of(&config).blob_path(),
            "RepoTags": [self.name.to_string()],
            "Layers": [Digest::of(&layer_gzip).blob_path()],
        }]);
        append(&mut tar, "manifest.json", 0o644, docker.to_string().as_bytes())?;
        append(&mut tar, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        tar.into_inner()?.flush()?;
        Ok(Digest::of(&manifest))
    }

    fn layer(&self) -> io::Result<Vec<u8>> {
        let mut tar = tar::Builder::new(Vec::new());
        append(&mut tar, &self.program, 0o755, self.binary.bytes())?;
        tar.into_inner()
    }

    fn config(&self, layer: &Digest) -> Value {
        let labels: serde_json::Map<String, Value> =
            self.labels.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        let environment: Vec<String> =
            self.environment.iter().map(|(key, value)| format!("{key}={value}")).collect();
        json!({
            "architecture": self.binary.architecture(),
            "os": "linux",
            "created": EPOCH,
            "config": {
                "Env": environment,
                "User": USER,
                "Entrypoint": [format!("/{}", self.program)],
                "WorkingDir": "/",
                "Labels": labels,
            },
            "rootfs": {"type": "layers", "diff_ids": [layer.to_string()]},
            "history": [{"created": EPOCH, "created_by": "baton-image"}],
        })
    }

    fn index(&self, manifest: &[u8]) -> Value {
        let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", manifest);
        entry["platform"] = json!({"architecture": self.binary.architecture(), "os": "linux"});
        // containerd takes the full name from the first, tools that know only OCI the tag from the
        // second.
        entry["annotations"] = json!({
            "io.containerd.image.name": self.name.to_string(),
            "org.opencontainers.image.ref.name": self.name.tag(),
        });
        json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [entry],
        })
    }
}

fn descriptor(media_type: &str, blob: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(blob).to_string(), "size": blob.len()})
}

fn append(
    tar: &mut tar::Builder<impl Write>,
    path: &str,
    mode: u32,
    bytes: &[u8],
) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    tar.append_data(&mut header, path, bytes)
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    // The builder's default header has no time, no file name and no operating system.
    let mut encoder = flate2::GzBuilder::new().write(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;

    use super::*;
    use crate::binary::tests::smallest_static;

    fn image() -> Image {
        Image {
            name: "registry.local/baton/app:1".parse().unwrap(),
            program: "app".into(),
            binary: Binary::new(smallest_static(object::elf::EM_X86_64)).unwrap(),
            labels: vec![("org.opencontainers.image.version".into(), "1".into())],
            environment: vec![("NAME".into(), "value".into())],
        }
    }

    fn unpack(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(archive).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            files.insert(path, bytes);
        }
        files
    }

    fn parse(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    fn blob<'a>(files: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> &'a [u8] {
        let digest = descriptor["digest"].as_str().unwrap();
        let bytes = &files[&format!("blobs/sha256/{}", digest.strip_prefix("sha256:").unwrap())];
        assert_eq!(Digest::of(bytes).to_string(), digest);
        assert_eq!(descriptor["size"], bytes.len());
        bytes
    }

    #[test]
    fn both_indexes_lead_to_the_same_program() {
        let mut archive = Vec::new();
        let digest = image().archive(&mut archive).unwrap();
        let files = unpack(&archive);

        let index = parse(&files["index.json"]);
        let entry = &index["manifests"][0];
        assert_eq!(entry["digest"], digest.to_string());
        assert_eq!(entry["annotations"]["io.containerd.image.name"], "registry.local/baton/app:1");
        let manifest = parse(blob(&files, entry));
        let config = parse(blob(&files, &manifest["config"]));
        assert_eq!(config["config"]["User"], USER);
        assert_eq!(config["config"]["Entrypoint"], json!(["/app"]));
        assert_eq!(config["config"]["Labels"]["org.opencontainers.image.version"], "1");

        let mut layer = Vec::new();
        let packed = blob(&files, &manifest["layers"][0]);
        flate2::read::GzDecoder::new(packed).read_to_end(&mut layer).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], Digest::of(&layer).to_string());
        assert_eq!(unpack(&layer)["app"], image().binary.bytes());

        let docker = &parse(&files["manifest.json"])[0];
        assert_eq!(docker["RepoTags"][0], "registry.local/baton/app:1");
        assert_eq!(parse(&files[docker["Config"].as_str().unwrap()]), config);
        assert_eq!(files[docker["Layers"][0].as_str().unwrap()], packed);
    }

    #[test]
    fn the_archive_depends_on_nothing_but_the_image() {
        let archives: Vec<Vec<u8>> = (0..2)
            .map(|_| {
                let mut archive = Vec::new();
                image().archive(&mut archive).unwrap();
                archive
            })
            .collect();
        assert_eq!(archives[0], archives[1]);
        // Not only equal to itself: this digest may change when a dependency changes how it
        // compresses, and then this line says so.
        let digest = image().archive(io::sink()).unwrap();
        assert_eq!(digest.to_string(), GOLDEN);
    }

    const GOLDEN: &str = "sha256:7fd419f2bc5c0ef090a129a7107f1e2b6514e6d1479657722a2f5194a1767b1b";
}
