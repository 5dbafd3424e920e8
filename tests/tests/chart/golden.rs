//! The default rendering, kept in files, so that a review sees what a change to a template does.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::chart::{compare_with_file, render_defaults};

/// Their content is a file of the chart, compared with it by tests of their own.
const OF_FILES: [&str; 2] = ["crd.yaml", "dashboard.yaml"];

#[test]
fn the_default_rendering_is_as_it_was() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chart/golden");
    let mut templates = BTreeMap::<String, String>::new();
    for object in render_defaults() {
        let text = templates.entry(object.template).or_default();
        if !text.is_empty() {
            text.push_str("---\n");
        }
        text.push_str(&object.text);
    }
    for template in OF_FILES {
        assert!(templates.remove(template).is_some(), "{template} renders nothing");
    }
    for (template, text) in &templates {
        compare_with_file(&golden.join(template), text);
    }
    for file in fs::read_dir(&golden).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(templates.contains_key(&name), "nothing renders golden/{name} any more: remove it");
    }
}
