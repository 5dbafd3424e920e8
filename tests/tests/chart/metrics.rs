//! docs/metrics.md has every metric, as the programs export it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use crate::chart::compare_with_file;
use crate::exposition::{Metric, of_operators, of_relays};

const INTRODUCTION: &str = "\
# Metrics

What relays and the operator export, at `/metrics` of their admin ports, in the text format of Prometheus. The chart's PodMonitors and
dashboard use these names ([charts/baton/README.md](../charts/baton/README.md)).

This page is generated from the programs: `BATON_BLESS=1 cargo test --package baton-tests --features chart --test chart metrics`.
Series with the values below exist from the start, at zero; those of a pool from the operator's first turn for it on.
";

const RELAYS: &str = "
## Relays

Prometheus adds the pod, its namespace and, by the chart's PodMonitor, its pool as `baton_dev_pool`.

";

const OPERATOR: &str = "
## Operator

`namespace` and `pool` are those of the pool.

";

/// Labels whose values are no words of ours.
const FREE: [&str; 3] = ["namespace", "pool", "version"];

#[test]
fn the_page_of_metrics_is_what_the_programs_export() {
    let page = [
        INTRODUCTION.to_owned(),
        RELAYS.to_owned() + &table(&of_relays()),
        OPERATOR.to_owned() + &table(&of_operators()),
    ];
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    compare_with_file(&path, &page.concat());
}

#[test]
fn every_metric_says_what_it_is_and_counters_are_called_so() {
    let all: Vec<Metric> = of_relays().into_iter().chain(of_operators()).collect();
    assert!(all.len() > 30, "{}", all.len());
    for Metric { name, kind, help, .. } in &all {
        assert!(help.len() > 5 && !help.ends_with('.'), "{name}: {help:?}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        assert_eq!(name.ends_with("_seconds"), kind == "histogram", "{name} is a {kind}");
    }
    let names: BTreeSet<&str> = all.iter().map(|metric| &*metric.name).collect();
    assert_eq!(names.len(), all.len());
}

fn table(metrics: &[Metric]) -> String {
    let mut table = String::from("| Metric | Type | Labels | |\n|---|---|---|---|\n");
    for Metric { name, kind, help, labels } in metrics {
        let labels: Vec<String> = labels
            .iter()
            .filter(|(label, _)| *label != "le")
            .map(|(label, values)| {
                let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
                match FREE.contains(&&**label) {
                    true => format!("`{label}`"),
                    false => format!("`{label}`: {}", values.join(", ")),
                }
            })
            .collect();
        // Writing to a String cannot fail.
        let _ = writeln!(table, "| `{name}` | {kind} | {} | {help} |", labels.join("; "));
    }
    table
}
