//! `registry/path:tag`, spelt in full.

use std::fmt;
use std::str::FromStr;

/// A full image name with a tag: `registry.local/baton/pause:1`.
///
/// The registry is required, because container engines disagree about what a name without one means
/// (`docker.io/library/...` to Docker, an error to others), and the pod would ask for another image
/// than the one that was loaded.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageName {
    full: String,
    tag_at: usize,
}

/// What is wrong with an image name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "image name `{name}` {problem}: write REGISTRY/PATH:TAG, such as registry.local/baton/app:1"
)]
pub struct ImageNameError {
    name: String,
    problem: &'static str,
}

impl ImageName {
    /// The tag alone: what follows the last colon.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.full[self.tag_at..]
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full)
    }
}

impl FromStr for ImageName {
    type Err = ImageNameError;

    /// The grammar is that of the OCI distribution specification (`name` and `reference`), less what
    /// nobody writes here.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let refuse = |problem| Err(ImageNameError { name: name.to_owned(), problem });
        let Some((registry, rest)) = name.split_once('/') else {
            return refuse("has no registry");
        };
        let Some((path, tag)) = rest.rsplit_once(':') else {
            return refuse("has no tag");
        };
        if !(registry.contains('.') || registry.contains(':') || registry == "localhost") {
            return refuse("has no registry (a registry has a dot or a port)");
        }
        let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let component = |part: &str| {
            part.starts_with(lower)
                && part.ends_with(lower)
                && part.chars().all(|c| lower(c) || matches!(c, '.' | '_' | '-'))
        };
        if !path.split('/').all(component) {
            return refuse(
                "has a path that is not lower-case letters, digits, `.`, `_`, `-` and `/`",
            );
        }
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !tag.starts_with(word)
            || tag.len() > 128
            || !tag.chars().all(|c| word(c) || matches!(c, '.' | '-'))
        {
            return refuse("has a tag that is not 1 to 128 letters, digits, `_`, `.` and `-`");
        }
        Ok(Self { full: name.to_owned(), tag_at: name.len() - tag.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_names_are_taken() {
        for (name, tag) in [
            ("registry.local/baton/pod:1", "1"),
            ("localhost/a:V-1.2_x", "V-1.2_x"),
            ("localhost:5000/a/b/c:latest", "latest"),
        ] {
            assert_eq!(name.parse::<ImageName>().unwrap().tag(), tag);
        }
    }

    #[test]
    fn anything_less_is_refused_and_says_what_to_write() {
        for name in [
            "pod",
            "pod:1",
            "baton/pod:1",
            "registry.local/pod",
            "registry.local/Pod:1",
            "registry.local//pod:1",
            "registry.local/pod:",
            "registry.local/pod:.1",
            "registry.local/pod:a b",
        ] {
            let error = name.parse::<ImageName>().unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("REGISTRY/PATH:TAG"), "{error}");
        }
    }
}
