//! The chart and what helm makes of it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use baton_tests::helm;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The release's namespace in every rendering.
pub(crate) const NAMESPACE: &str = "baton-system";

/// One object that the chart renders.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    /// The template it comes from, such as `deployment.yaml`.
    pub(crate) template: String,
    pub(crate) text: String,
    pub(crate) value: Value,
}

impl Object {
    pub(crate) fn kind(&self) -> &str {
        self.value["kind"].as_str().unwrap()
    }

    pub(crate) fn name(&self) -> &str {
        self.value["metadata"]["name"].as_str().unwrap()
    }

    /// The object as its Kubernetes type. A field that the type does not know is an error: the API
    /// server would drop it without a word.
    pub(crate) fn typed<T: DeserializeOwned + serde::Serialize>(&self) -> T {
        let what = format!("{} {}", self.kind(), self.name());
        let typed: T = serde_json::from_value(self.value.clone())
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let again = serde_json::to_value(&typed).unwrap();
        same(&self.value, &again, &what);
        typed
    }
}

/// Everything in `rendered` is in `typed` too.
fn same(rendered: &Value, typed: &Value, path: &str) {
    match rendered {
        Value::Object(fields) => {
            for (name, value) in fields.iter().filter(|(_, value)| !is_empty(value)) {
                same(value, &typed[name], &format!("{path}.{name}"));
            }
        }
        Value::Array(items) => {
            assert_eq!(typed.as_array().map(Vec::len), Some(items.len()), "{path}");
            for (n, item) in items.iter().enumerate() {
                same(item, &typed[n], &format!("{path}[{n}]"));
            }
        }
        _ => assert_eq!(rendered, typed, "{path}"),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// The chart's folder.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/baton")
}

/// A file of the chart.
pub(crate) fn file(name: &str) -> String {
    let path = folder().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The chart's own values.
pub(crate) fn default_values() -> Value {
    yaml(&file("values.yaml"))
}

/// Parses one YAML document.
pub(crate) fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Runs a verb of helm on the chart, with `values` over its own.
pub(crate) fn run(verb: &[&str], values: &Value) -> Output {
    let mut child = Command::new(helm::program())
        .args(verb)
        .arg(folder())
        .args(["--namespace", NAMESPACE, "--values", "-"])
        // No cluster that happens to be configured is asked for anything.
        .env("KUBECONFIG", "/dev/null")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(values.to_string().as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// Runs a verb that must succeed, and returns what it printed.
pub(crate) fn printed(verb: &[&str], values: &Value) -> String {
    let output = run(verb, values);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "helm {} with {values}: {said}", verb.join(" "));
    String::from_utf8(output.stdout).unwrap()
}

/// What the chart renders with `values` over its own.
pub(crate) fn render(values: &Value) -> Vec<Object> {
    let text = printed(&["template", "baton"], values);
    format!("\n{text}").split("\n---\n").filter_map(object).collect()
}

/// What the chart renders by itself.
pub(crate) fn render_defaults() -> Vec<Object> {
    render(&json!({}))
}

/// Why helm refuses `values`.
pub(crate) fn refusal(values: &Value) -> String {
    let output = run(&["template", "baton"], values);
    assert!(!output.status.success(), "helm took {values}");
    String::from_utf8(output.stderr).unwrap()
}

/// The only object of a kind.
pub(crate) fn only<'a>(objects: &'a [Object], kind: &str) -> &'a Object {
    let found: Vec<_> = objects.iter().filter(|object| object.kind() == kind).collect();
    assert_eq!(found.len(), 1, "objects of kind {kind}: {found:?}");
    found[0]
}

fn object(document: &str) -> Option<Object> {
    let (source, text) = document.trim_start().split_once('\n')?;
    let template = source.strip_prefix("# Source: baton/templates/")?.to_owned();
    let value = yaml(text);
    (!value.is_null()).then(|| Object { template, text: format!("{}\n", text.trim_end()), value })
}

/// Compares with a file in the repository, or writes it anew if `BATON_BLESS` is set.
pub(crate) fn compare_with_file(path: &Path, actual: &str) {
    if std::env::var_os("BATON_BLESS").is_some() {
        fs::write(path, actual).unwrap();
        return;
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    if let Some(line) = first_difference(&expected, actual) {
        panic!(
            "{}, line {line}, is no longer what comes out. If that is meant: BATON_BLESS=1 cargo test \
             --package baton-tests --features chart --test chart\n--- file\n{}\n--- now\n{}",
            path.display(),
            around(&expected, line),
            around(actual, line),
        );
    }
}

fn first_difference(expected: &str, actual: &str) -> Option<usize> {
    let mut lines = expected.lines().zip(actual.lines());
    let common = lines.position(|(left, right)| left != right);
    let shorter = expected.lines().count().min(actual.lines().count());
    common.or((expected != actual).then_some(shorter)).map(|line| line + 1)
}

fn around(text: &str, line: usize) -> String {
    let lines: Vec<&str> = text.lines().skip(line.saturating_sub(4)).take(8).collect();
    lines.join("\n")
}

#[test]
fn a_difference_is_found_wherever_it_is() {
    assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
    assert_eq!(first_difference("a\nb\n", "a\nc\n"), Some(2));
    assert_eq!(first_difference("a\n", "a\nb\n"), Some(2));
    assert_eq!(first_difference("a\nb\n", "a\n"), Some(2));
}
