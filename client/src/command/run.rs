//! `baton run`: many services and ports in one process, from one file.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use baton_client::{Allow, Options, udp};
use clap::Args;
use serde::Deserialize;

use super::expose::{address, destination};
use super::forward::target;
use super::forwards::{Expose, Forward, Forwards, Transport};
use super::time::{time, time_or_zero};
use super::{Failure, Reach};

/// A configuration is a page: what is longer is another file.
const MAX_FILE: u64 = 1 << 20;

#[derive(Args)]
pub(crate) struct Run {
    /// What to expose and to forward, and by which pool (docs/cli.md shows one)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only say whether the file can be used
    #[arg(long)]
    check: bool,
}

impl Run {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let failed = |source| Failure::Config { path: self.file.clone(), source };
        let text = {
            let mut text = String::new();
            let file = std::fs::File::open(&self.file).map_err(failed)?;
            let mut file = std::io::Read::take(file, MAX_FILE);
            std::io::Read::read_to_string(&mut file, &mut text).map_err(failed)?;
            text
        };
        let invalid = |faults| Failure::InvalidConfig { path: self.file.clone(), faults };
        let folder = self.file.parent().unwrap_or(Path::new(""));
        let (reach, forwards) = parse(&text, folder).map_err(invalid)?;
        if self.check { Ok(()) } else { forwards.run(&reach, "run").await }
    }
}

type Unknown = BTreeMap<String, serde_json::Value>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    profile: Option<PathBuf>,
    key: Option<PathBuf>,
    token_file: Option<PathBuf>,
    mtu: Option<u32>,
    drain: Option<String>,
    idle: Option<String>,
    #[serde(default)]
    expose: Vec<RawExpose>,
    #[serde(default)]
    forward: Vec<RawForward>,
    #[serde(flatten)]
    unknown: Unknown,
}

#[derive(Deserialize)]
struct RawExpose {
    name: Option<String>,
    tcp: Option<String>,
    udp: Option<String>,
    #[serde(default)]
    allow: Vec<String>,
    #[serde(flatten)]
    unknown: Unknown,
}

#[derive(Deserialize)]
struct RawForward {
    to: Option<String>,
    tcp: Option<String>,
    udp: Option<String>,
    #[serde(flatten)]
    unknown: Unknown,
}

/// Everything that is wrong with a file.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    /// Takes a value out of a result, or notes what is wrong with it.
    fn note<T>(&mut self, place: &str, result: Result<T, impl ToString>) -> Option<T> {
        result.map_err(|error| self.0.push(format!("{place}: {}", error.to_string()))).ok()
    }

    fn unknown(&mut self, place: &str, unknown: &Unknown) {
        let fields = unknown.keys().map(|field| format!("{place}: there is no field '{field}'"));
        self.0.extend(fields);
    }

    /// One of `tcp` and `udp`, and its address.
    fn address(
        &mut self,
        place: &str,
        tcp: Option<&String>,
        udp: Option<&String>,
        read: fn(&str) -> Result<SocketAddr, String>,
    ) -> Option<(Transport, SocketAddr)> {
        let (transport, text) = match (tcp, udp) {
            (Some(text), None) => (Transport::Tcp, text),
            (None, Some(text)) => (Transport::Udp, text),
            _ => {
                self.0.push(format!("{place}: it needs one of 'tcp' and 'udp', with an address"));
                return None;
            }
        };
        self.note(place, read(text)).map(|address| (transport, address))
    }
}

/// Reads a configuration whose paths are relative to `folder`; or says everything that is wrong with it.
fn parse(text: &str, folder: &Path) -> Result<(Reach, Forwards), Vec<String>> {
    // Its first line: the others show the file, which may be another one than was meant, with secrets in it.
    let first = |error: serde_saphyr::Error| {
        let said = error.to_string();
        let line = said.lines().next().unwrap_or_default();
        vec![format!("it is no configuration: {}", line.trim_start_matches("error: "))]
    };
    let raw: Raw = serde_saphyr::from_str(text).map_err(first)?;
    let mut faults = Faults::default();
    faults.unknown("the file", &raw.unknown);
    let beside = |path: PathBuf| folder.join(path);
    let profile = raw.profile.ok_or("it is missing: the pool's profile.json");
    let profile = faults.note("'profile'", profile).map(beside);
    let mut options = Options::default();
    options.mtu = raw.mtu.unwrap_or(options.mtu);
    if let Some(text) = raw.drain {
        options.drain = faults.note("'drain'", time_or_zero(&text)).unwrap_or_default();
    }
    let idle = raw.idle.map_or(Some(udp::IDLE), |text| faults.note("'idle'", time(&text)));
    let exposes = exposes(&raw.expose, &mut faults);
    let forwards = forwards(&raw.forward, &mut faults);
    if raw.expose.is_empty() && raw.forward.is_empty() {
        faults.0.push("the file: it needs an entry under 'expose' or 'forward'".to_owned());
    }
    match (profile, idle) {
        (Some(profile), Some(idle)) if faults.0.is_empty() => {
            let (key, token_file) = (raw.key.map(beside), raw.token_file.map(beside));
            Ok((Reach { profile, token_file, key, options }, Forwards { exposes, forwards, idle }))
        }
        _ => Err(faults.0),
    }
}

fn exposes(raw: &[RawExpose], faults: &mut Faults) -> Vec<Expose> {
    let mut exposes = Vec::new();
    let mut known = BTreeSet::new();
    for (number, raw) in raw.iter().enumerate() {
        let place = format!("expose {}", number + 1);
        faults.unknown(&place, &raw.unknown);
        let name = raw.name.as_deref().ok_or("it needs a 'name'".to_owned());
        let name = name.and_then(|name| name.parse().map_err(|error| format!("{error}")));
        let name = faults.note(&place, name);
        let allow: Vec<Allow> =
            raw.allow.iter().filter_map(|who| faults.note(&place, who.parse::<Allow>())).collect();
        let allow = allow.into_iter().reduce(Allow::or).unwrap_or_default();
        let address = faults.address(&place, raw.tcp.as_ref(), raw.udp.as_ref(), destination);
        let (Some(name), Some((transport, to))) = (name, address) else { continue };
        let expose = Expose { transport, to, name, allow };
        if known.insert((transport, expose.name.clone())) {
            exposes.push(expose);
        } else {
            faults.0.push(format!("{place}: '{}' is exposed already", expose.name));
        }
    }
    exposes
}

fn forwards(raw: &[RawForward], faults: &mut Faults) -> Vec<Forward> {
    let mut forwards = Vec::new();
    let mut known = BTreeSet::new();
    for (number, raw) in raw.iter().enumerate() {
        let place = format!("forward {}", number + 1);
        faults.unknown(&place, &raw.unknown);
        let to = raw.to.as_deref().ok_or("it needs a 'to', as PEER/NAME".to_owned());
        let to = faults.note(&place, to.and_then(target));
        let address = faults.address(&place, raw.tcp.as_ref(), raw.udp.as_ref(), address);
        let (Some((peer, service)), Some((transport, local))) = (to, address) else { continue };
        if local.port() == 0 || known.insert((transport, local)) {
            forwards.push(Forward { transport, local, peer, service });
        } else {
            faults.0.push(format!("{place}: '{local}' is taken by another forward"));
        }
    }
    forwards
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PEER: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    /// The example of the reference.
    pub(crate) fn example() -> &'static str {
        let page = include_str!("../../../docs/cli.md");
        let example = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
        example.expect("docs/cli.md shows a file")
    }

    #[test]
    fn the_example_of_the_reference_is_read() {
        let (reach, forwards) = parse(example(), Path::new("/etc/baton")).unwrap();
        assert_eq!(reach.profile, Path::new("/etc/baton/profile.json"));
        assert_eq!(reach.key.as_deref(), Some(Path::new("/etc/baton/web.key")));
        assert_eq!(reach.options.drain, Duration::from_secs(10));
        assert_eq!(forwards.exposes.len(), 2);
        assert_eq!(forwards.forwards.len(), 2);
        assert_eq!(forwards.forwards[1].transport, Transport::Udp);
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let text = format!(
            "
profil: p
drain: -5s
idle: 0s
expose:
  - {{name: a b, tcp: 127.0.0.1:1}}
  - {{name: a, tcp: nowhere}}
  - {{name: b, tcp: '127.0.0.1:1', udp: '127.0.0.1:1'}}
  - {{name: c, tcp: '127.0.0.1:1', allow: [all]}}
  - {{name: d, tcp: '127.0.0.1:1'}}
  - {{name: d, tcp: '127.0.0.1:2', port: 3}}
forward:
  - {{to: nobody, tcp: '127.0.0.1:1'}}
  - {{tcp: '127.0.0.1:1'}}
  - {{to: {PEER}/x, udp: '127.0.0.1:9'}}
  - {{to: {PEER}/y, udp: '127.0.0.1:9'}}
  - {{to: {PEER}/y}}
"
        );
        let faults = parse(&text, Path::new("")).unwrap_err();
        for said in [
            "the file: there is no field 'profil'",
            "'profile': it is missing",
            "'drain': '-5s' is no time",
            "'idle': '0s' is no time at all",
            "expose 1: 'a b' is no name",
            "expose 2: 'nowhere' is no address",
            "expose 3: it needs one of",
            "expose 4: ",
            "expose 6: there is no field 'port'",
            "expose 6: 'd' is exposed already",
            "forward 1: 'nobody' has no '/'",
            "forward 2: it needs a 'to'",
            "forward 4: '127.0.0.1:9' is taken",
            "forward 5: it needs one of",
        ] {
            assert!(faults.iter().any(|fault| fault.starts_with(said)), "{said}: {faults:#?}");
        }
        assert_eq!(faults.len(), 14, "{faults:#?}");
        let empty = parse("{}", Path::new("")).unwrap_err();
        assert_eq!(empty.len(), 2, "{empty:?}");
    }
}
