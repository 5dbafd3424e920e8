//! Where a pool is and how it is known: the file `profile.json` of the ConfigMap `<pool>-client`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use baton_protocol::token::is_audience;
use bytes::Bytes;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde::Deserialize;

/// All that a client must know of a pool.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Where its relays are, each `host:port`; any of them is as good as another.
    pub addresses: Vec<String>,
    /// The name in the relays' certificate.
    pub server_name: ServerName<'static>,
    /// `<namespace>/<pool>`, the audience of access tokens.
    pub audience: String,
    /// Who signs the relays' certificates.
    pub ca: Vec<CertificateDer<'static>>,
    /// What opens the pool.
    pub token: TokenSource,
}

/// Where the access token comes from.
#[derive(Clone, Default)]
pub enum TokenSource {
    /// The pool demands none.
    #[default]
    None,
    /// It is this.
    Fixed(Bytes),
    /// It is in this file, which is read at each fresh attachment: so it may be renewed.
    File(PathBuf),
}

impl std::fmt::Debug for TokenSource {
    /// Without the token, which is a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Fixed(_) => f.write_str("Fixed"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

impl TokenSource {
    /// Whether there is what was promised: a file that can be read, and is not empty.
    ///
    /// # Errors
    /// What is wrong with the file, with its name.
    pub fn check(&self) -> io::Result<()> {
        let Self::File(path) = self else { return Ok(()) };
        let about = |kind, what: &dyn std::fmt::Display| {
            io::Error::new(kind, format!("the file {}: {what}", path.display()))
        };
        match self.read() {
            Ok(token) if token.is_empty() => Err(about(io::ErrorKind::InvalidData, &"it is empty")),
            Ok(_) => Ok(()),
            Err(error) => Err(about(error.kind(), &error)),
        }
    }

    /// The token as it is now; empty if there is none.
    pub(crate) fn read(&self) -> io::Result<Bytes> {
        match self {
            Self::None => Ok(Bytes::new()),
            Self::Fixed(token) => Ok(token.clone()),
            Self::File(path) => Ok(std::fs::read(path)?.trim_ascii().to_vec().into()),
        }
    }
}

/// A profile that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// It cannot be read.
    #[error("the profile {} cannot be read: {source}; it is `profile.json` of the ConfigMap <pool>-client", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not JSON, or not of this form.
    #[error("the profile is not as in the ConfigMap <pool>-client: {0}")]
    Json(#[from] serde_json::Error),
    /// It lacks things, or has wrong ones: all of them.
    #[error("the profile cannot be used: {}", .0.join("; "))]
    Invalid(Vec<String>),
    /// The profile in this file.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with what is in it.
        source: Box<Self>,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    addresses: Vec<String>,
    #[serde(default)]
    server_name: String,
    #[serde(default)]
    audience: String,
    #[serde(default)]
    ca: String,
    token: Option<String>,
    token_file: Option<PathBuf>,
    /// A later operator may say more; but a name may be misspelt, too.
    #[serde(flatten)]
    unknown: BTreeMap<String, serde::de::IgnoredAny>,
}

impl Profile {
    /// Reads and validates a profile. A relative `tokenFile` is beside it.
    pub fn read(path: &Path) -> Result<Self, ProfileError> {
        let text = std::fs::read(path)
            .map_err(|source| ProfileError::Read { path: path.into(), source })?;
        let mut profile = Self::from_json(&text)
            .map_err(|error| ProfileError::File { path: path.into(), source: Box::new(error) })?;
        if let TokenSource::File(file) = &mut profile.token
            && let Some(folder) = path.parent()
        {
            *file = folder.join(&*file);
        }
        Ok(profile)
    }

    /// Validates a profile as a whole: the error names everything that is wrong.
    pub fn from_json(json: &[u8]) -> Result<Self, ProfileError> {
        let raw: Raw = serde_json::from_slice(json)?;
        for field in raw.unknown.keys() {
            tracing::warn!(field, "the profile has a field that is not known, and is passed over");
        }
        let mut wrong = Vec::new();
        if raw.addresses.is_empty() {
            wrong.push("'addresses' is empty: it needs at least one \"host:port\"".to_owned());
        }
        wrong.extend(
            raw.addresses
                .iter()
                .filter(|address| !is_address(address))
                .map(|address| format!("'addresses' has '{address}', which is no \"host:port\"")),
        );
        let server_name = ServerName::try_from(raw.server_name.clone());
        if server_name.is_err() {
            wrong.push(format!("'serverName' is '{}', which is no host name", raw.server_name));
        }
        if !is_audience(&raw.audience) {
            wrong.push(format!(
                "'audience' is '{}', and must be \"<namespace>/<pool>\"",
                raw.audience
            ));
        }
        let ca: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(raw.ca.as_bytes()).collect();
        match &ca {
            Ok(certificates) if certificates.is_empty() => {
                wrong.push("'ca' has no certificate in PEM".to_owned())
            }
            Ok(certificates) => {
                let mut roots = rustls::RootCertStore::empty();
                let errors = certificates.iter().filter_map(|ca| roots.add(ca.clone()).err());
                wrong.extend(
                    errors.map(|error| {
                        format!("'ca' has a certificate that cannot be used: {error}")
                    }),
                );
            }
            Err(error) => wrong.push(format!("'ca' is no PEM: {error}")),
        }
        if raw.token.is_some() && raw.token_file.is_some() {
            wrong.push(
                "'token' and 'tokenFile' are both there: only one of them can hold".to_owned(),
            );
        }
        let token = match (raw.token, raw.token_file) {
            (Some(token), _) => TokenSource::Fixed(token.trim().to_owned().into()),
            (None, Some(path)) => TokenSource::File(path),
            (None, None) => TokenSource::None,
        };
        match (server_name, ca) {
            (Ok(server_name), Ok(ca)) if wrong.is_empty() => Ok(Self {
                addresses: raw.addresses,
                server_name,
                audience: raw.audience,
                ca,
                token,
            }),
            _ => Err(ProfileError::Invalid(wrong)),
        }
    }
}

fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let plausible = !host.is_empty()
        && (bracketed || !host.contains(':'))
        && !host.contains(char::is_whitespace);
    plausible && port.parse::<u16>().is_ok_and(|port| port != 0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ca() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::new(vec!["ca".into()]).unwrap().self_signed(&key).unwrap().pem()
    }

    #[test]
    fn a_profile_as_in_the_config_map_is_read() {
        let json = json!({
            "addresses": ["192.0.2.1:443", "[2001:db8::1]:443", "relay.example:4443"],
            "serverName": "edge.ns.baton.internal", "audience": "ns/edge", "ca": ca(), "token": "abc\n", "later": 1,
        });
        let profile = Profile::from_json(json.to_string().as_bytes()).unwrap();
        assert_eq!(profile.addresses.len(), 3);
        assert_eq!(profile.ca.len(), 1);
        assert_eq!(profile.token.read().unwrap(), "abc");
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let json = json!({
            "addresses": ["nowhere", "a b:1", "::1:443", "h:0", "h:99999"],
            "serverName": "", "audience": "edge", "ca": "", "token": "a", "tokenFile": "b",
        });
        let error = Profile::from_json(json.to_string().as_bytes()).unwrap_err();
        let ProfileError::Invalid(wrong) = error else { panic!("{error}") };
        assert_eq!(wrong.len(), 9, "{wrong:#?}");
        let empty = Profile::from_json(b"{}").unwrap_err().to_string();
        for field in ["'addresses'", "'serverName'", "'audience'", "'ca'"] {
            assert!(empty.contains(field), "{empty}");
        }
        assert!(matches!(Profile::from_json(b"no"), Err(ProfileError::Json(_))));
    }

    #[test]
    fn a_token_file_is_beside_its_profile_and_read_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let json = json!({
            "addresses": ["h:1"], "serverName": "h", "audience": "n/p", "ca": ca(), "tokenFile": "token",
        });
        std::fs::write(folder.path().join("profile.json"), json.to_string()).unwrap();
        let profile = Profile::read(&folder.path().join("profile.json")).unwrap();
        assert!(profile.token.read().is_err());
        for token in ["first", "second"] {
            std::fs::write(folder.path().join("token"), format!("{token}\n")).unwrap();
            assert_eq!(profile.token.read().unwrap(), token);
        }
    }
}
