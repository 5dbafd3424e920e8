//! The configuration file: YAML with the flags' names, and their values. What the command line or the environment says
//! counts before it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::Command;
use clap::error::ErrorKind;
use serde::Deserialize;

/// A value, as the command line would have it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Value {
    Whole(i64),
    Fraction(f64),
    Logical(bool),
    Text(String),
}

impl Value {
    fn text(&self) -> String {
        match self {
            Self::Whole(number) => number.to_string(),
            Self::Fraction(number) => number.to_string(),
            Self::Logical(logical) => logical.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// The command line with what the file says put before it, so that what is there counts. The error is everything that is wrong
/// with the file.
pub(super) fn arguments(
    command: &Command,
    arguments: &[OsString],
    path: &Path,
) -> Result<Vec<OsString>, Vec<String>> {
    let about = |problem: String| format!("the configuration file {}: {problem}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| vec![about(error.to_string())])?;
    let values: BTreeMap<String, Value> = serde_saphyr::from_str(&text).map_err(|error| {
        // What follows is the text around it, in many lines.
        let error = error.to_string();
        let first = error.lines().next().unwrap_or_default();
        vec![about(format!("it is no YAML of flags and values: {first}"))]
    })?;
    let mut wrong = Vec::new();
    let mut all: Vec<OsString> = arguments.first().cloned().into_iter().collect();
    for (name, value) in &values {
        let flag = format!("--{name}={}", value.text());
        if let Err(problem) = judge(command, name, &flag) {
            wrong.push(about(problem));
        } else if !is_in_environment(command, name) {
            all.push(flag.into());
        }
    }
    all.extend(arguments.iter().skip(1).cloned());
    if wrong.is_empty() { Ok(all) } else { Err(wrong) }
}

/// Whether the flag exists and takes the value, whatever becomes of the others.
fn judge(command: &Command, name: &str, flag: &str) -> Result<(), String> {
    if !is_flag(command, name) {
        return Err(format!("there is no '{name}': it has the flags' names, see --help"));
    }
    let line = [command.get_name(), flag];
    match command.clone().try_get_matches_from(line).map_err(|error| error.kind()) {
        Err(ErrorKind::ValueValidation | ErrorKind::InvalidValue) => {
            let (_, value) = flag.split_once('=').unwrap_or_default();
            Err(format!("'{name}' cannot be '{value}': see --help"))
        }
        // What else is wrong is not the matter of this flag: others are missing here.
        _ => Ok(()),
    }
}

fn is_flag(command: &Command, name: &str) -> bool {
    // A file that names another file would have it read at the next start, or never.
    name != "config" && command.get_arguments().any(|argument| argument.get_long() == Some(name))
}

fn is_in_environment(command: &Command, name: &str) -> bool {
    let of = |argument: &&clap::Arg| argument.get_long() == Some(name);
    let variable = command.get_arguments().find(of).and_then(clap::Arg::get_env);
    variable.is_some_and(|variable: &OsStr| std::env::var_os(variable).is_some())
}
