//! The Grafana dashboard: what it asks for exists, and what exists is shown.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde_json::Value;

use crate::chart::file;
use crate::exposition::{Metric, of_operators, of_relays};

/// Metrics that are about no pool, and say nothing over time.
const NOT_SHOWN: [&str; 1] = ["baton_operator_build_info"];

/// What Prometheus adds to the series of a relay's pod.
const OF_RELAY_PODS: [&str; 3] = ["namespace", "pod", "baton_dev_pool"];

/// A place in a query where a metric is named.
#[derive(Debug)]
struct Use {
    metric: String,
    /// The names in its braces.
    selectors: BTreeSet<String>,
    /// What stands before it.
    before: String,
}

fn dashboard() -> Value {
    serde_json::from_str(&file("files/dashboards/baton.json")).expect("the dashboard is JSON")
}

fn array<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// The panels that show something, of rows too.
fn panels(dashboard: &Value) -> Vec<&Value> {
    let all = array(dashboard, "panels");
    let in_rows = all.iter().flat_map(|row| array(row, "panels"));
    all.iter().chain(in_rows).filter(|panel| panel["type"] != "row").collect()
}

/// Every query with the title of its panel.
fn queries(dashboard: &Value) -> Vec<(&str, &str)> {
    let of = |panel| array(panel, "targets").iter().map(|target| text(target, "expr"));
    panels(dashboard)
        .into_iter()
        .flat_map(|panel| of(panel).map(|query| (text(panel, "title"), query)))
        .collect()
}

/// Finds the metrics of a query. Names of labels start with `baton_` too, but with no crate's name.
fn uses(query: &str) -> Vec<Use> {
    let mut starts: Vec<usize> = ["baton_relay_", "baton_operator_"]
        .iter()
        .flat_map(|prefix| query.match_indices(prefix))
        .map(|(start, _)| start)
        .collect();
    starts.sort_unstable();
    starts
        .into_iter()
        .map(|start| {
            let (before, rest) = query.split_at(start);
            let is_part = |c: char| c.is_ascii_lowercase() || c == '_';
            let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
            let (metric, rest) = rest.split_at(end);
            let braces = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
            let selectors = braces.map_or("", |(selectors, _)| selectors);
            Use {
                metric: metric.to_owned(),
                selectors: selectors
                    .split(',')
                    .filter_map(|one| one.split(['=', '!']).next())
                    .map(|name| name.trim().to_owned())
                    .filter(|name| !name.is_empty())
                    .collect(),
                before: before.to_owned(),
            }
        })
        .collect()
}

/// What the programs export, with the labels that it has for whoever asks Prometheus.
fn exported() -> &'static BTreeMap<String, BTreeSet<String>> {
    static EXPORTED: LazyLock<BTreeMap<String, BTreeSet<String>>> = LazyLock::new(|| {
        let of = |metric: Metric, added: &[&str]| {
            let name = match &*metric.kind {
                "histogram" => format!("{}_bucket", metric.name),
                _ => metric.name,
            };
            let added = added.iter().map(|label| (*label).to_owned());
            (name, metric.labels.into_keys().chain(added).collect())
        };
        let relays = of_relays().into_iter().map(|metric| of(metric, &OF_RELAY_PODS));
        relays.chain(of_operators().into_iter().map(|metric| of(metric, &[]))).collect()
    });
    &EXPORTED
}

/// The labels that a metric has once it is scraped.
fn labels(metric: &str) -> BTreeSet<&'static str> {
    let labels = exported().get(metric).unwrap_or_else(|| panic!("nothing exports {metric}"));
    labels.iter().map(String::as_str).collect()
}

#[test]
fn every_panel_has_a_title_an_explanation_a_query_and_a_unit() {
    let dashboard = dashboard();
    let panels = panels(&dashboard);
    assert!(panels.len() >= 15, "{}", panels.len());
    let mut titles = BTreeSet::new();
    for panel in panels {
        let title = text(panel, "title");
        assert!(titles.insert(title), "two panels are called {title:?}");
        assert!(!title.is_empty() && !text(panel, "description").is_empty(), "{title:?}");
        assert!(!text(&panel["fieldConfig"]["defaults"], "unit").is_empty(), "{title} has no unit");
        assert!(!array(panel, "targets").is_empty(), "{title} has no query");
        for target in array(panel, "targets") {
            assert!(!text(target, "expr").is_empty(), "{title} has an empty query");
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
        }
    }
}

#[test]
fn panels_have_numbers_of_their_own_and_do_not_overlap() {
    let dashboard = dashboard();
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in array(&dashboard, "panels") {
        assert!(ids.insert(panel["id"].as_u64().expect("an id")));
        let at = |field: &str| panel["gridPos"][field].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{panel}");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{:?} lies on another panel", panel["title"]);
            }
        }
    }
}

#[test]
fn queries_use_known_metrics_and_their_labels_only() {
    let dashboard = dashboard();
    for (title, query) in queries(&dashboard) {
        let uses = uses(query);
        assert!(!uses.is_empty(), "{title} asks for no metric of ours: {query}");
        let balance = query.matches('(').count().abs_diff(query.matches(')').count());
        assert_eq!(balance, 0, "{title}: parentheses in {query}");
        let mut known = BTreeSet::new();
        for one in &uses {
            let labels = labels(&one.metric);
            for selector in &one.selectors {
                assert!(labels.contains(selector.as_str()), "{title}: {selector} in {query}");
            }
            known.extend(labels);
        }
        for (_, grouped) in
            query.match_indices("by (").map(|(at, by)| query.split_at(at + by.len()))
        {
            let names = grouped.split(')').next().unwrap();
            for name in names.split(',').map(str::trim) {
                assert!(known.contains(name), "{title}: by {name:?} in {query}");
            }
        }
    }
}

#[test]
fn legends_name_labels_that_the_query_keeps() {
    let dashboard = dashboard();
    for panel in panels(&dashboard) {
        for target in array(panel, "targets") {
            let (query, legend) = (text(target, "expr"), text(target, "legendFormat"));
            let kept = query.split_once("by (").and_then(|(_, rest)| rest.split_once(')'));
            let kept: Vec<&str> =
                kept.map_or("", |(names, _)| names).split(',').map(str::trim).collect();
            for name in legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()) {
                assert!(kept.contains(&name), "{legend} of {query}");
            }
        }
    }
}

#[test]
fn every_metric_is_on_the_dashboard() {
    let dashboard = dashboard();
    let queries = queries(&dashboard);
    let shown: BTreeSet<String> =
        queries.iter().flat_map(|(_, query)| uses(query)).map(|one| one.metric).collect();
    for metric in exported().keys().filter(|metric| !NOT_SHOWN.contains(&&***metric)) {
        assert!(shown.contains(metric), "{metric} is shown nowhere");
    }
}

#[test]
fn counters_are_shown_as_rates_or_increases() {
    let dashboard = dashboard();
    for (title, query) in queries(&dashboard) {
        for one in uses(query) {
            let counts = one.metric.ends_with("_total") || one.metric.ends_with("_bucket");
            let changes = one.before.ends_with("rate(") || one.before.ends_with("increase(");
            assert_eq!(counts, changes, "{title}: {query}");
        }
    }
}

#[test]
fn what_belongs_to_a_pool_is_asked_for_the_chosen_pools() {
    let dashboard = dashboard();
    for (title, query) in queries(&dashboard) {
        for one in uses(query) {
            let labels = labels(&one.metric);
            for pool in ["namespace", "pool", "baton_dev_pool"] {
                assert_eq!(labels.contains(pool), one.selectors.contains(pool), "{title}: {query}");
            }
        }
    }
}

#[test]
fn the_variables_are_data_source_namespace_and_pool() {
    let dashboard = dashboard();
    let variables = array(&dashboard["templating"], "list");
    let names: Vec<&str> = variables.iter().map(|variable| text(variable, "name")).collect();
    assert_eq!(names, ["datasource", "namespace", "pool"]);
    for variable in &variables[1..] {
        let query = text(&variable["query"], "query");
        assert_eq!(uses(query).len(), 1, "{query}");
        let (_, label) = query.trim_end_matches(')').rsplit_once(", ").unwrap();
        assert!(OF_RELAY_PODS.contains(&label), "{label}");
    }
}

#[test]
fn metrics_are_found_in_a_query() {
    let found =
        uses(r#"sum by (a) (rate(baton_relay_x_total{c="1", d!~"2"}[5m])) / baton_operator_y"#);
    let metrics: Vec<&str> = found.iter().map(|one| one.metric.as_str()).collect();
    assert_eq!(metrics, ["baton_relay_x_total", "baton_operator_y"]);
    assert_eq!(found[0].selectors, BTreeSet::from(["c", "d"].map(String::from)));
    assert!(found[0].before.ends_with("rate("));
}
