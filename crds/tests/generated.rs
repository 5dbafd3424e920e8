//! The YAML that is checked in is what the types say, and is fit for every way to apply it.

const MEND: &str = "mend it with: cargo run --package baton-crds --example print-crd \
                    > crds/relaypools.baton.dev.yaml";

fn checked_in() -> serde_json::Value {
    let yaml = include_str!("../relaypools.baton.dev.yaml");
    serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("not YAML ({error}); {MEND}"))
}

#[test]
fn the_yaml_is_generated_from_the_types() {
    let generated = baton_crds::definition().unwrap();
    assert!(checked_in() == generated, "crds/relaypools.baton.dev.yaml is out of date; {MEND}");
}

#[test]
fn it_fits_into_the_annotation_of_a_client_side_apply() {
    // metadata.annotations may hold 256 KiB in all, and `kubectl apply` puts the object there.
    let bytes = baton_crds::definition().unwrap().to_string().len();
    assert!(bytes < 200_000, "{bytes} bytes");
}

#[test]
fn every_field_of_spec_is_described() {
    let definition = baton_crds::definition().unwrap();
    let spec = definition
        .pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec")
        .expect("a schema of spec");
    let mut silent = Vec::new();
    undescribed("spec", spec, &mut silent);
    assert!(silent.is_empty(), "without description: {silent:?}");
}

/// `kubectl explain` has nothing to say about these. Kubernetes' own types are Kubernetes' matter.
fn undescribed(path: &str, schema: &serde_json::Value, silent: &mut Vec<String>) {
    if path.ends_with(".affinity") {
        return;
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        if property["description"].as_str().is_none_or(str::is_empty) {
            silent.push(path.clone());
        }
        undescribed(&path, property, silent);
    }
}
