//! The operator's flags. Each is an environment variable too.

use std::collections::BTreeSet;
use std::net::SocketAddr;

/// Keeps fleets of QUIC relays, and replaces them without losing a session.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "baton-operator", version)]
pub struct Config {
    /// Look after the pools of these namespaces only, by a comma-separated list. Not set: of all.
    #[arg(
        long = "namespace",
        env = "BATON_OPERATOR_NAMESPACES",
        value_name = "NAMESPACE",
        value_delimiter = ',',
        value_parser = namespace
    )]
    pub namespaces: Vec<String>,

    /// What to log: a level, or a filter such as `info,baton_operator=debug`.
    #[arg(long, env = "BATON_OPERATOR_LOG", default_value = "info")]
    pub log: String,

    /// How to log.
    #[arg(long, env = "BATON_OPERATOR_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// Where /metrics, /livez and /readyz are.
    #[arg(
        long,
        env = "BATON_OPERATOR_ADMIN_ADDR",
        default_value = "0.0.0.0:8080",
        value_name = "IP:PORT"
    )]
    pub admin_addr: SocketAddr,
}

impl Config {
    /// What to look after, each once however often it was named: two controllers of one namespace would be in each other's way.
    /// `None` = all namespaces.
    #[must_use]
    pub fn scopes(&self) -> BTreeSet<Option<String>> {
        if self.namespaces.is_empty() {
            BTreeSet::from([None])
        } else {
            self.namespaces.iter().cloned().map(Some).collect()
        }
    }
}

/// How to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// A namespace's name, checked here because a wrong one would be watched in silence for ever.
fn namespace(name: &str) -> Result<String, String> {
    let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_label = !name.is_empty()
        && name.len() <= 63
        && name.bytes().all(letters)
        && !name.starts_with('-')
        && !name.ends_with('-');
    if is_label {
        Ok(name.to_owned())
    } else {
        Err("a namespace is named by at most 63 lower-case letters, digits and '-'".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn namespaces_are_a_list() {
        let parse = |arguments: &[&str]| {
            Config::try_parse_from(["baton-operator"].iter().chain(arguments))
                .map(|config| config.namespaces)
        };
        assert_eq!(parse(&[]).unwrap(), [""; 0]);
        assert_eq!(parse(&["--namespace", "a,b", "--namespace", "c"]).unwrap(), ["a", "b", "c"]);
    }

    #[test]
    fn a_namespace_that_is_named_twice_is_looked_after_once() {
        let scopes = |arguments: &[&str]| {
            Config::try_parse_from(["baton-operator"].iter().chain(arguments)).unwrap().scopes()
        };
        assert_eq!(
            scopes(&["--namespace", "a,b,a"]),
            ["a", "b"].map(|name| Some(name.into())).into()
        );
        assert_eq!(scopes(&[]), [None].into());
    }
}
