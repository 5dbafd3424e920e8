//! `tokens.json`: access tokens (JWT, HS256), and what a relay says to each. A relay's gate is held against them in
//! `relay/src/auth.rs`; this crate knows nothing of tokens but their length.

use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{compare, peer};

const SECRET: &str = "a shared secret of thirty-two bytes, or more";
const OTHER_SECRET: &str = "a secret of thirty-two bytes of another pool";

/// In the year 2096, so that the examples stay what they are.
const LATER: u64 = 4_000_000_000;

fn base64(json: &Value) -> String {
    BASE64URL_NOPAD.encode(json.to_string().as_bytes())
}

fn token(header: &Value, claims: &Value, secret: &str) -> String {
    let signed = format!("{}.{}", base64(header), base64(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(signed.as_bytes());
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&mac.finalize().into_bytes()))
}

#[test]
fn the_tokens_are_these() {
    let header = json!({"alg": "HS256", "typ": "JWT"});
    let made = |claims: &Value| token(&header, claims, SECRET);
    let peer = peer().to_string();
    let other = baton_protocol::id::PeerId::from_bytes([9; 32]).to_string();
    let base = json!({"aud": "ns/edge", "exp": LATER});
    let with = |name: &str, value: Value| {
        let mut claims = base.clone();
        claims[name] = value;
        claims
    };
    let without = |name: &str| {
        let mut claims = base.clone();
        claims.as_object_mut().unwrap().remove(name);
        claims
    };
    let admitted = [
        ("for any peer, into the empty group", base.clone(), ""),
        ("for this peer", with("sub", json!(peer)), ""),
        ("for this peer, in capitals", with("sub", json!(peer.to_uppercase())), ""),
        ("into a group", with("grp", json!("team")), "team"),
        ("into a group with the longest name", with("grp", json!("g".repeat(128))), &"g".repeat(128)),
        ("for several pools", with("aud", json!(["ns/other", "ns/edge"])), ""),
        ("valid for long", with("nbf", json!(1000)), ""),
        ("with claims that nobody looks at", with("iss", json!("someone")), ""),
    ]
    .map(|(what, claims, group)| {
        json!({"what": what, "token": made(&claims), "claims": claims, "group": group, "session_ends": LATER + 30})
    });
    let refused = [
        ("nothing", String::new(), "token_required"),
        ("no JWT", "nonsense".into(), "token_invalid"),
        ("of another peer", made(&with("sub", json!(other))), "token_invalid"),
        ("whose subject is no peer", made(&with("sub", json!("alice"))), "token_invalid"),
        ("for another pool", made(&with("aud", json!("ns/other"))), "token_invalid"),
        ("for no pool", made(&without("aud")), "token_invalid"),
        ("that never ends", made(&without("exp")), "token_invalid"),
        ("whose end is a text", made(&with("exp", json!("4000000000"))), "token_invalid"),
        ("into a group with too long a name", made(&with("grp", json!("g".repeat(129)))), "token_invalid"),
        ("that has expired", made(&with("exp", json!(1000))), "token_expired"),
        ("that is not valid yet", made(&with("nbf", json!(LATER))), "token_expired"),
        ("made with another secret", token(&header, &base, OTHER_SECRET), "token_invalid"),
        ("made by another algorithm, or so it says", token(&json!({"alg": "HS384"}), &base, SECRET), "token_invalid"),
        ("not signed", format!("{}.{}.", base64(&json!({"alg": "none"})), base64(&base)), "token_invalid"),
        ("whose signature was cut off", made(&base).rsplit_once('.').unwrap().0.to_owned(), "token_invalid"),
    ]
    .map(|(what, token, code)| json!({"what": what, "token": token, "refused": code, "retry": "never"}));
    compare(
        "tokens.json",
        &json!({
            "about": "Access tokens: docs/protocol.md, section 7. The clock stands anywhere between 2001 and 2096",
            "secret": SECRET,
            "audience": "ns/edge",
            "peer": peer,
            "admitted": admitted,
            "refused": refused,
        }),
    );
}
