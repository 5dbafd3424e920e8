//! What the programs export, from the pages that they serve to Prometheus: every name, its type, its labels, and what it means.

use std::collections::{BTreeMap, BTreeSet};

use baton_crds::RelayPoolStatus;

/// A metric.
#[derive(Debug, Default)]
pub(crate) struct Metric {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) help: String,
    /// With the values that they have from the start.
    pub(crate) labels: BTreeMap<String, BTreeSet<String>>,
}

/// Those of a relay, in the order of their names.
pub(crate) fn of_relays() -> Vec<Metric> {
    metrics(&baton_relay::metrics::Metrics::new().render())
}

/// Those of an operator that has seen a pool, in the order of their names.
pub(crate) fn of_operators() -> Vec<Metric> {
    let metrics_of_operator = baton_operator::metrics::Metrics::new().unwrap();
    metrics_of_operator.observe("a-namespace", "a-pool", 3, &RelayPoolStatus::default());
    metrics(&metrics_of_operator.text().unwrap())
}

/// Reads the text format of Prometheus.
fn metrics(page: &str) -> Vec<Metric> {
    let mut metrics: Vec<Metric> = Vec::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            let (name, help) = (name.to_owned(), help.to_owned());
            metrics.push(Metric { name, help, ..Metric::default() });
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let metric = metrics.last_mut().unwrap();
            metric.kind = rest.strip_prefix(&metric.name).unwrap().trim().to_owned();
        } else if let Some((_, rest)) = line.split_once('{') {
            let metric = metrics.last_mut().unwrap();
            let (labels, _) = rest.split_once('}').unwrap();
            for label in labels.split(',') {
                let (name, value) = label.split_once('=').unwrap();
                let value = value.trim_matches('"').to_owned();
                metric.labels.entry(name.to_owned()).or_default().insert(value);
            }
        }
    }
    metrics
}

#[test]
fn the_page_of_metrics_is_read() {
    let page = "# HELP a_total Things, by kind\n# TYPE a_total counter\na_total{kind=\"x\",b=\"1\"} 0\n\
                a_total{kind=\"y\",b=\"1\"} 0\n# HELP c Time\n# TYPE c histogram\nc_bucket{le=\"+Inf\"} 0\nc_count 0\n";
    let found = metrics(page);
    let [a, c] = &found[..] else { panic!("{found:?}") };
    assert_eq!((&*a.name, &*a.kind, &*a.help), ("a_total", "counter", "Things, by kind"));
    assert_eq!(a.labels["kind"], BTreeSet::from(["x", "y"].map(String::from)));
    assert_eq!((&*c.name, &*c.kind, c.labels.len()), ("c", "histogram", 1));
}
