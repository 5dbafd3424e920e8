//! The table of values in the chart's README, made from the comments in values.yaml.

use serde_json::Value;

use crate::chart::{compare_with_file, default_values, file, folder};

const START: &str = "<!-- values: written by BATON_BLESS=1 -->\n";
const END: &str = "<!-- end of values -->\n";

/// An option that values.yaml explains.
#[derive(Debug, PartialEq)]
struct Explained {
    path: String,
    about: String,
}

/// Reads `# -- ` comments, each of which belongs to the key below it.
fn explained(values: &str) -> Vec<Explained> {
    let mut found = Vec::new();
    let mut path: Vec<(usize, &str)> = Vec::new();
    let mut about = String::new();
    for line in values.lines() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if let Some(first) = text.strip_prefix("# -- ") {
            first.clone_into(&mut about);
        } else if let Some(more) = text.strip_prefix("# ") {
            if !about.is_empty() {
                about.push(' ');
                about.push_str(more);
            }
        } else if text.is_empty() {
            about.clear();
        } else if let Some((key, _)) = text.split_once(':').filter(|_| !text.starts_with("- ")) {
            path.retain(|(outer, _)| *outer < indent);
            path.push((indent, key));
            if !about.is_empty() {
                let keys: Vec<&str> = path.iter().map(|(_, key)| *key).collect();
                found.push(Explained { path: keys.join("."), about: std::mem::take(&mut about) });
            }
        }
    }
    found
}

fn table(values: &Value, explained: &[Explained]) -> String {
    let mut table = String::from("| value | default | what it is |\n|---|---|---|\n");
    for Explained { path, about } in explained {
        let default = path.split('.').fold(values, |value, key| &value[key]);
        // A whole object would be as wide as a page.
        let default = match default.to_string() {
            long if long.len() > 40 => "see values.yaml".to_owned(),
            short => format!("`{short}`"),
        };
        table += &format!("| `{path}` | {default} | {about} |\n");
    }
    table
}

#[test]
fn the_readme_lists_every_value() {
    let values = default_values();
    let explained = explained(&file("values.yaml"));
    let mut paths = Vec::new();
    crate::options::paths(&values, "", &mut paths);
    for path in paths {
        let is_explained = explained
            .iter()
            .any(|one| path == one.path || path.starts_with(&format!("{}.", one.path)));
        assert!(is_explained, "{path} has no comment that starts with `# -- `");
    }
    let readme = file("README.md");
    let (before, rest) = readme.split_once(START).expect("the README has a place for the values");
    let (_, after) = rest.split_once(END).expect("the place for the values ends");
    let now = format!("{before}{START}{}{END}{after}", table(&values, &explained));
    compare_with_file(&folder().join("README.md"), &now);
}

#[test]
fn comments_are_read_with_the_key_below_them() {
    let found =
        explained("# not this\n\na:\n  # -- One\n  # line.\n  b: 1\n  c: 2\n# -- Two.\nd: []\n");
    let expected = [("a.b", "One line."), ("d", "Two.")];
    let expected =
        expected.map(|(path, about)| Explained { path: path.into(), about: about.into() });
    assert_eq!(found, expected);
}
