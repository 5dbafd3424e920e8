//! Where a relay's siblings are, when it starts.

use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

/// The port of the mesh in a pod.
pub const MESH_PORT: u16 = 4444;

/// The longest seeds file that is looked at, in bytes.
const MAX_LENGTH: usize = 256 * 1024;

/// The siblings to begin with.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Seeds {
    /// Where they listen for links.
    pub addresses: Vec<SocketAddr>,
}

/// A seeds file that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeedsError {
    /// It is no JSON object of the right form.
    #[error("the seeds cannot be read: {0}; docs/drain-contract.md has their form")]
    Form(String),
    /// It is far too long.
    #[error("the seeds have {0} bytes or more, and may have {MAX_LENGTH}")]
    Long(usize),
    /// It names nobody, and does not say that there is nobody.
    #[error(
        "the seeds name no pod, and `first` is false: whoever wrote them must name a sibling or say that there is none"
    )]
    Nobody,
}

#[derive(Deserialize)]
struct File {
    pods: Vec<Pod>,
    #[serde(default)]
    first: bool,
}

#[derive(Deserialize)]
struct Pod {
    ip: IpAddr,
}

impl Seeds {
    /// Reads the content of the seeds file (docs/drain-contract.md). `None` = they are not written yet.
    pub fn parse(content: &str) -> Result<Option<Self>, SeedsError> {
        if content.len() > MAX_LENGTH {
            return Err(SeedsError::Long(content.len()));
        }
        if content.trim().is_empty() {
            return Ok(None);
        }
        let file: File =
            serde_json::from_str(content).map_err(|error| SeedsError::Form(error.to_string()))?;
        if file.pods.is_empty() && !file.first {
            return Err(SeedsError::Nobody);
        }
        Ok(Some(Self {
            addresses: file.pods.iter().map(|pod| SocketAddr::new(pod.ip, MESH_PORT)).collect(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_as_the_operator_writes_them() {
        let text = r#"{"pods": [{"name": "edge-1", "ip": "10.0.0.7"}, {"name": "edge-2", "ip": "fd00::7"}], "first": false}"#;
        let seeds = Seeds::parse(text).unwrap().unwrap();
        assert_eq!(
            seeds.addresses,
            ["10.0.0.7:4444".parse().unwrap(), "[fd00::7]:4444".parse().unwrap()]
        );
        assert_eq!(Seeds::parse(r#"{"pods": [], "first": true}"#), Ok(Some(Seeds::default())));
        assert_eq!(Seeds::parse(""), Ok(None));
    }

    #[test]
    fn what_is_no_seeds_says_why() {
        let error = |text| Seeds::parse(text).unwrap_err().to_string();
        assert!(error(r#"{"pods": [{"name": "a"}]}"#).contains("ip"));
        assert!(error(r#"{"pods": [{"name": "a", "ip": "ten"}]}"#).contains("IP"));
        assert!(error(r#"{"pods": [], "first": false}"#).contains("name a sibling"));
    }
}
