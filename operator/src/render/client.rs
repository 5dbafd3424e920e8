//! All that a client needs to know of a pool, but for its token.

use std::collections::BTreeMap;

use baton_crds::PoolAddress;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

use super::{owned, stamp};
use crate::names;
use crate::plan::snapshot::Pool;

/// The ConfigMap `<pool>-client`.
#[must_use]
pub fn render(pool: &Pool, ca_certificate: &str, addresses: &[PoolAddress]) -> ConfigMap {
    let addresses: Vec<&str> = addresses.iter().map(|address| address.value.as_str()).collect();
    let server_name = names::server_name(&pool.namespace, &pool.name);
    let audience = names::audience(&pool.namespace, &pool.name);
    let profile = json!({
        "addresses": addresses,
        "serverName": server_name,
        "audience": audience,
        "ca": ca_certificate,
    });
    let data: BTreeMap<String, String> = [
        ("ca.crt", ca_certificate.to_owned()),
        ("serverName", server_name),
        ("aud", audience),
        ("addresses", addresses.join("\n")),
        ("profile.json", format!("{profile:#}\n")),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect();
    let mut metadata = owned(pool, names::client_config(&pool.name));
    stamp(&mut metadata, &data);
    ConfigMap { metadata, data: Some(data), ..ConfigMap::default() }
}

#[cfg(test)]
mod tests {
    use baton_crds::AddressKind;
    use serde_json::Value;

    use super::*;
    use crate::render::tests::pool;

    #[test]
    fn the_profile_says_what_the_other_keys_say() {
        let address =
            PoolAddress { kind: AddressKind::ClusterIP, value: "10.0.0.1:443".to_owned() };
        let config = render(&pool(json!({})), "PEM", &[address]);
        assert_eq!(config.metadata.name.as_deref(), Some("edge-client"));
        let data = config.data.unwrap();
        let profile: Value = serde_json::from_str(&data["profile.json"]).unwrap();
        let expected = json!({
            "addresses": ["10.0.0.1:443"],
            "serverName": "edge.apps.baton.internal",
            "audience": "apps/edge",
            "ca": "PEM",
        });
        assert_eq!(profile, expected);
        assert_eq!(data["ca.crt"], "PEM");
        assert_eq!(data["serverName"], "edge.apps.baton.internal");
        assert_eq!(data["aud"], "apps/edge");
        assert_eq!(data["addresses"], "10.0.0.1:443");
    }
}
