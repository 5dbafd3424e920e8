//! The reference of the command line, docs/cli.md, is written from the commands themselves.

use std::fmt::Write as _;
use std::path::Path;

use clap::{Command, CommandFactory as _};

use super::Baton;

const START: &str = "<!-- commands: written by BATON_BLESS=1 -->\n";

/// One section for each command that does something.
fn sections(command: &Command, path: &str, out: &mut String) {
    if !command.has_subcommands() {
        section(command, path, out);
    }
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        sections(inner, &format!("{path} {}", inner.get_name()), out);
    }
}

fn section(command: &Command, path: &str, out: &mut String) {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let usage = command.clone().bin_name(path).render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    write!(out, "\n## `{path}`\n\n{about}.\n\n    {usage}\n\n").unwrap();
    out.push_str("| argument | what it is | default | variable |\n|---|---|---|---|\n");
    for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
        if ["help", "version"].contains(&argument.get_id().as_str()) {
            continue;
        }
        let values: Vec<String> = argument
            .get_value_names()
            .unwrap_or_default()
            .iter()
            .map(ToString::to_string)
            .collect();
        let values =
            if argument.get_action().takes_values() { values.join(" ") } else { String::new() };
        let short = argument.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
        let name = match argument.get_long() {
            Some(long) => format!("{short}--{long} {values}"),
            None => values,
        };
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let defaults: Vec<_> =
            argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let default = match defaults.as_slice() {
            _ if !argument.get_action().takes_values() => String::new(),
            [] => String::new(),
            values => format!("`{}`", values.join(" ")),
        };
        let variable = argument.get_env().map(|name| format!("`{}`", name.to_string_lossy()));
        let variable = variable.unwrap_or_default();
        writeln!(out, "| `{}` | {help} | {default} | {variable} |", name.trim()).unwrap();
    }
}

#[test]
fn the_reference_of_the_command_line_is_what_the_commands_say() {
    let mut command = Baton::command();
    command.build();
    let mut sections_out = String::new();
    sections(&command, "baton", &mut sections_out);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, written) = page.split_once(START).expect("docs/cli.md has the mark");
    if std::env::var_os("BATON_BLESS").is_some() {
        std::fs::write(&path, format!("{before}{START}{sections_out}")).unwrap();
        return;
    }
    assert!(
        written == sections_out,
        "docs/cli.md is no longer what the commands say. If that is meant: BATON_BLESS=1 cargo test -p baton-client --bin baton"
    );
}

#[test]
fn every_argument_has_a_help() {
    fn check(command: &Command) {
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{}: {}", command.get_name(), argument.get_id());
        }
        command.get_subcommands().for_each(check);
    }
    let mut command = Baton::command();
    command.build();
    check(&command);
    command.debug_assert();
}
