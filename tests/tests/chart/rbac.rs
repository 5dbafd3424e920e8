//! What the operator and people may do.

use std::collections::BTreeSet;

use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, Subject,
};
use serde_json::{Value, json};

use crate::chart::{NAMESPACE, Object, render, render_defaults};

const NAMESPACES: [&str; 2] = ["edge", "core"];

fn of_kind<'a>(objects: &'a [Object], kind: &str) -> Vec<&'a Object> {
    objects.iter().filter(|object| object.kind() == kind).collect()
}

/// The rules of every role, with the role's name.
fn all_rules(objects: &[Object]) -> Vec<(String, PolicyRule)> {
    let cluster = of_kind(objects, "ClusterRole").into_iter().map(|object| {
        (object.name().to_owned(), object.typed::<ClusterRole>().rules.unwrap_or_default())
    });
    let namespaced = of_kind(objects, "Role")
        .into_iter()
        .map(|object| (object.name().to_owned(), object.typed::<Role>().rules.unwrap_or_default()));
    cluster
        .chain(namespaced)
        .flat_map(|(name, rules)| rules.into_iter().map(move |rule| (name.clone(), rule)))
        .collect()
}

/// The operator's rules as (group, resource, verb).
fn grants(objects: &[Object], name: &str) -> BTreeSet<(String, String, String)> {
    let mut grants = BTreeSet::new();
    for (_, rule) in all_rules(objects).into_iter().filter(|(of, _)| of == name) {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                for verb in &rule.verbs {
                    grants.insert((group.clone(), resource.clone(), verb.clone()));
                }
            }
        }
    }
    grants
}

fn is_operator(subjects: Option<Vec<Subject>>) -> bool {
    matches!(subjects.as_deref(), Some([Subject { kind, name, namespace, .. }])
        if kind == "ServiceAccount" && name == "baton-operator"
            && namespace.as_deref() == Some(NAMESPACE))
}

fn modes() -> [Value; 2] {
    [json!({}), json!({"watchNamespaces": NAMESPACES})]
}

#[test]
fn no_rule_reads_secrets_that_it_cannot_name() {
    for values in modes() {
        for (role, rule) in all_rules(&render(&values)) {
            let mut names = rule.resources.iter().chain(&rule.api_groups).flatten();
            assert!(names.all(|name| name != "*"), "{role} has a wildcard: {rule:?}");
            assert!(rule.verbs.iter().all(|verb| verb != "*"), "{role} may do all: {rule:?}");
            if rule.resources.iter().flatten().any(|resource| resource == "secrets") {
                assert_eq!(rule.verbs, ["get", "create"], "{role}");
            }
        }
    }
}

#[test]
fn the_operator_cannot_raise_its_own_rights() {
    for values in modes() {
        for (group, resource, verb) in grants(&render(&values), "baton-operator") {
            assert_ne!(group, "rbac.authorization.k8s.io");
            assert!(!["escalate", "bind", "impersonate"].contains(&verb.as_str()));
            assert!(
                !["pods/exec", "serviceaccounts/token", "nodes/proxy"].contains(&resource.as_str())
            );
        }
    }
}

#[test]
fn the_operator_may_do_its_work() {
    let grants = grants(&render_defaults(), "baton-operator");
    for (group, resource, verbs) in [
        ("baton.dev", "relaypools", "get list watch patch"),
        ("baton.dev", "relaypools/status", "patch"),
        ("baton.dev", "relaypools/finalizers", "update"),
        ("", "pods", "get list watch create patch delete"),
        ("", "services", "list watch create patch"),
        ("apps", "controllerrevisions", "list watch create delete"),
        ("policy", "poddisruptionbudgets", "list watch create patch delete"),
        ("", "configmaps", "list watch create patch"),
        ("", "secrets", "get create"),
        ("", "namespaces", "get"),
        ("events.k8s.io", "events", "create patch"),
    ] {
        let granted: BTreeSet<&str> = grants
            .iter()
            .filter(|(g, r, _)| g == group && r == resource)
            .map(|(_, _, verb)| verb.as_str())
            .collect();
        assert_eq!(granted, verbs.split(' ').collect(), "{group}/{resource}");
    }
}

#[test]
fn in_cluster_mode_one_binding_covers_all_namespaces() {
    let objects = render_defaults();
    let bindings = of_kind(&objects, "ClusterRoleBinding");
    assert_eq!(bindings.len(), 1);
    let binding: ClusterRoleBinding = bindings[0].typed();
    assert_eq!(
        (binding.role_ref.kind.as_str(), binding.role_ref.name.as_str()),
        ("ClusterRole", "baton-operator")
    );
    assert!(is_operator(binding.subjects));
    assert!(of_kind(&objects, "Role").is_empty() && of_kind(&objects, "RoleBinding").is_empty());
}

#[test]
fn with_a_list_of_namespaces_nothing_reaches_beyond_them() {
    let objects = render(&json!({"watchNamespaces": NAMESPACES}));
    assert!(of_kind(&objects, "ClusterRoleBinding").is_empty());
    let cluster_roles: Vec<_> =
        of_kind(&objects, "ClusterRole").iter().map(|object| object.name().to_owned()).collect();
    assert_eq!(cluster_roles, ["baton-view", "baton-edit"].map(String::from), "only for people");

    let namespaces = |kind: &str| -> BTreeSet<String> {
        of_kind(&objects, kind)
            .iter()
            .map(|object| object.value["metadata"]["namespace"].as_str().unwrap().to_owned())
            .collect()
    };
    let expected = BTreeSet::from(NAMESPACES.map(String::from));
    assert_eq!(namespaces("Role"), expected);
    assert_eq!(namespaces("RoleBinding"), expected);
    for object in of_kind(&objects, "RoleBinding") {
        let binding: RoleBinding = object.typed();
        assert_eq!(
            (binding.role_ref.kind.as_str(), binding.role_ref.name.as_str()),
            ("Role", "baton-operator")
        );
        assert!(is_operator(binding.subjects));
    }
    assert_eq!(
        grants(&objects, "baton-operator"),
        grants(&render_defaults(), "baton-operator"),
        "in its namespaces the operator may do the same"
    );
}

#[test]
fn roles_for_people_are_aggregated_and_cover_pools_only() {
    let objects = render_defaults();
    let labels = |name: &str| -> BTreeSet<String> {
        let role = of_kind(&objects, "ClusterRole").into_iter().find(|role| role.name() == name);
        let labels = role.unwrap().typed::<ClusterRole>().metadata.labels.unwrap();
        let prefix = "rbac.authorization.k8s.io/aggregate-to-";
        labels.keys().filter_map(|label| label.strip_prefix(prefix)).map(String::from).collect()
    };
    assert_eq!(labels("baton-view"), BTreeSet::from(["admin", "edit", "view"].map(String::from)));
    assert_eq!(labels("baton-edit"), BTreeSet::from(["admin", "edit"].map(String::from)));
    for role in ["baton-view", "baton-edit"] {
        assert!(grants(&objects, role).iter().all(|(group, ..)| group == "baton.dev"), "{role}");
    }
    let reads = ["get", "list", "watch"];
    let views = grants(&objects, "baton-view");
    assert!(views.iter().all(|(_, _, verb)| reads.contains(&verb.as_str())));
}

#[test]
fn roles_can_come_from_elsewhere() {
    let objects = render(&json!({"rbac": {"create": false, "aggregate": false}}));
    for kind in ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"] {
        assert!(of_kind(&objects, kind).is_empty(), "{kind}");
    }
}
