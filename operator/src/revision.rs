//! What a pod is made of, and its name: a hash of the fields of which a change replaces every pod.
//!
//! Fields go in **as their owner wrote them**: what stands at its default is left out, and nothing that
//! the operator adds takes part. So neither a field that a later version adds, nor a later operator's
//! other way to build a pod, changes the hash of a pool that nobody touched. How a pod is built from the
//! fields is numbered apart (`POD_SHAPE`).

use baton_crds::{AuthMode, DrainSpec, RelayPoolSpec, RelayTemplate};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The version of what the operator makes of the fields; see [`crate::render::pod`].
pub const POD_SHAPE: u32 = 1;

/// Letters of a hash: no vowels, so that no words come out, as Kubernetes does it.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// How many letters. 27^8 is 2.8e11: two revisions of one pool do not meet.
const LENGTH: usize = 8;

/// The fields of which a change replaces every pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rolls {
    /// `spec.template`.
    pub template: RelayTemplate,
    /// `spec.auth.mode`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub auth_mode: AuthMode,
    /// `spec.drain.graceSeconds`: a pod's termination grace is set once.
    #[serde(default = "default_grace", skip_serializing_if = "is_default_grace")]
    pub grace_seconds: i32,
    /// `spec.drain.lingerSeconds`: as above.
    #[serde(default = "default_linger", skip_serializing_if = "is_default_linger")]
    pub linger_seconds: i32,
}

impl Rolls {
    /// Those of a pool.
    #[must_use]
    pub fn of(spec: &RelayPoolSpec) -> Self {
        Self {
            template: spec.template.clone(),
            auth_mode: spec.auth.mode,
            grace_seconds: spec.drain.grace_seconds,
            linger_seconds: spec.drain.linger_seconds,
        }
    }

    /// The revision's name.
    #[must_use]
    pub fn hash(&self) -> String {
        let digest = Sha256::digest(canonical(&self.value()).as_bytes());
        let mut number = u128::from_be_bytes(std::array::from_fn(|n| digest[n]));
        let mut letters = String::with_capacity(LENGTH);
        for _ in 0..LENGTH {
            // The remainder is below 27.
            let letter = usize::try_from(number % 27).unwrap_or_default();
            letters.push(char::from(ALPHABET[letter]));
            number /= 27;
        }
        letters
    }

    /// What a ControllerRevision holds.
    #[must_use]
    pub fn stored(&self) -> Value {
        json!({"podShape": POD_SHAPE, "rolls": self.value()})
    }

    /// Reads what [`Self::stored`] wrote. `None`: written by something else, or by a later operator in a
    /// way that this one does not know.
    #[must_use]
    pub fn from_stored(stored: &Value) -> Option<Self> {
        if stored["podShape"] != POD_SHAPE {
            return None;
        }
        serde_json::from_value(stored["rolls"].clone()).ok()
    }

    /// How long a pod may take to end: everything it may have to do after SIGTERM, and a margin.
    #[must_use]
    pub fn termination_grace_seconds(&self) -> i64 {
        i64::from(self.grace_seconds) + i64::from(self.linger_seconds) + 10
    }

    fn value(&self) -> Value {
        // Maps with string keys and numbers: nothing in here can fail to be JSON.
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// JSON with sorted keys and no spaces: the same text for the same content, whatever built it.
#[must_use]
pub fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(value, &mut text);
    text
}

fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => {
            let sorted: std::collections::BTreeMap<_, _> = fields.iter().collect();
            text.push('{');
            for (n, (key, value)) in sorted.into_iter().enumerate() {
                if n > 0 {
                    text.push(',');
                }
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push(':');
                write_canonical(value, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    text.push(',');
                }
                write_canonical(item, text);
            }
            text.push(']');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn default_grace() -> i32 {
    DrainSpec::default().grace_seconds
}

fn is_default_grace(seconds: &i32) -> bool {
    *seconds == default_grace()
}

fn default_linger() -> i32 {
    DrainSpec::default().linger_seconds
}

fn is_default_linger(seconds: &i32) -> bool {
    *seconds == default_linger()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(value: Value) -> RelayPoolSpec {
        let mut spec = json!({"template": {"image": "relay:1"}});
        for (key, value) in value.as_object().unwrap() {
            spec[key] = value.clone();
        }
        serde_json::from_value(spec).unwrap()
    }

    fn hash(value: Value) -> String {
        Rolls::of(&spec(value)).hash()
    }

    /// Pods of every existing pool bear this hash: if this test fails, an upgrade of the operator would
    /// replace every relay in the world.
    #[test]
    fn the_hash_of_a_pool_never_changes() {
        let hash = hash(json!({}));
        assert_eq!(hash.len(), LENGTH);
        assert_eq!(hash, include_str!("revision.golden").trim());
    }

    #[test]
    fn what_stands_at_its_default_is_as_if_it_were_not_written() {
        let written = hash(json!({
            "template": {"image": "relay:1", "logLevel": "info", "args": [], "metadata": {"labels": {}}},
            "auth": {"mode": "Token"},
            "drain": {"graceSeconds": 60, "lingerSeconds": 10},
        }));
        assert_eq!(written, hash(json!({})));
    }

    #[test]
    fn the_order_of_keys_does_not_matter_and_that_of_lists_does() {
        let labels = |text: &str| {
            let labels: Value = serde_json::from_str(text).unwrap();
            hash(json!({"template": {"image": "relay:1", "metadata": {"labels": labels}}}))
        };
        assert_eq!(labels(r#"{"a": "1", "b": "2"}"#), labels(r#"{"b": "2", "a": "1"}"#));
        let args = |args: [&str; 2]| hash(json!({"template": {"image": "relay:1", "args": args}}));
        assert_ne!(args(["--a", "--b"]), args(["--b", "--a"]));
    }

    #[test]
    fn what_is_stored_reads_back_and_other_shapes_do_not() {
        let rolls = Rolls::of(&spec(json!({"drain": {"graceSeconds": 30}})));
        let mut stored = rolls.stored();
        assert_eq!(Rolls::from_stored(&stored), Some(rolls));
        stored["podShape"] = json!(POD_SHAPE + 1);
        assert_eq!(Rolls::from_stored(&stored), None);
    }
}
