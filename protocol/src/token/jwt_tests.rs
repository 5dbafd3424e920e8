//! Tokens of every algorithm against keys of every kind.

use data_encoding::{BASE64, BASE64URL_NOPAD};
use ed25519_dalek::SigningKey;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::*;
use crate::id::PeerId;
use crate::pkcs8;

const SECRET: &[u8] = b"a shared secret of thirty-two bytes, or more";
const NOW: u64 = 1_000_000;
const PEER: PeerId = PeerId::from_bytes([1; 32]);

/// A key of P-256, made by openssl, in PKCS #8, and its public half.
const P256_PRIVATE: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgPGQK6hi7zVEJbIqLcPxzGd/92Qqu5zRR3J0xE+X4zGGhRANCAASO41jnDMqp8goyJyhpm/vNUjegBESZ2+oZEwcJgELHZ8zQLZ/PVk/g7XvzmdZopkNovqTZ7wVo5tdZsswVUsOR";
const P256_PUBLIC: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEjuNY5wzKqfIKMicoaZv7zVI3oAREmdvqGRMHCYBCx2fM0C2fz1ZP4O1785nWaKZDaL6k2e8FaObXWbLMFVLDkQ==";

fn ed25519(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(der))
}

/// As `openssl pkey -pubout` writes it.
fn ed25519_pem(seed: u8) -> String {
    let prefix = BASE64.decode(b"MCowBQYDK2VwAyEA").unwrap();
    pem("PUBLIC KEY", &[&prefix[..], ed25519(seed).verifying_key().as_bytes()].concat())
}

fn p256_pem() -> String {
    pem("PUBLIC KEY", &BASE64.decode(P256_PUBLIC.as_bytes()).unwrap())
}

fn ed25519_jwk(seed: u8, id: &str) -> Value {
    let x = BASE64URL_NOPAD.encode(ed25519(seed).verifying_key().as_bytes());
    json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": id})
}

fn p256_jwk(id: &str) -> Value {
    let spki = BASE64.decode(P256_PUBLIC.as_bytes()).unwrap();
    let half = |from: usize| BASE64URL_NOPAD.encode(&spki[from..from + 32]);
    json!({"kty": "EC", "crv": "P-256", "x": half(27), "y": half(59), "kid": id})
}

fn by_hs256() -> (Algorithm, EncodingKey) {
    (Algorithm::HS256, EncodingKey::from_secret(SECRET))
}

fn by_eddsa(seed: u8) -> (Algorithm, EncodingKey) {
    (Algorithm::EdDSA, EncodingKey::from_ed_der(&pkcs8::of_seed(&[seed; 32])))
}

fn by_es256() -> (Algorithm, EncodingKey) {
    let der = BASE64.decode(P256_PRIVATE.as_bytes()).unwrap();
    (Algorithm::ES256, EncodingKey::from_ec_der(&der))
}

fn claims() -> Value {
    json!({"aud": "ns/edge", "exp": NOW + 60})
}

fn token((algorithm, key): (Algorithm, EncodingKey), id: Option<&str>) -> String {
    let header = Header { kid: id.map(ToOwned::to_owned), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, &claims(), &key).unwrap()
}

/// A token with this header, signed by HS256 with `secret`, whatever the header says.
fn forged(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let part = |json: &Value| BASE64URL_NOPAD.encode(json.to_string().as_bytes());
    let signed = format!("{}.{}", part(header), part(claims));
    let key = EncodingKey::from_secret(secret);
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{signed}.{signature}")
}

fn keys(name: &str, content: impl AsRef<[u8]>) -> Vec<TokenKey> {
    TokenKey::read(name, content.as_ref()).unwrap()
}

fn judged(token: &str, keys: &[TokenKey]) -> Result<(), TokenFault> {
    verify(token.as_bytes(), keys)?.judge("ns/edge", &PEER, NOW)
}

#[test]
fn each_kind_of_key_verifies_tokens_of_its_own_algorithm_and_no_other() {
    let set = |keys: &[Value]| json!({"keys": keys}).to_string();
    let files = [
        ("secret", SECRET.to_vec(), "HS256"),
        ("issuer.pem", ed25519_pem(1).into_bytes(), "EdDSA"),
        ("issuer.pub", p256_pem().into_bytes(), "ES256"),
        ("one.jwk", ed25519_jwk(1, "a").to_string().into_bytes(), "EdDSA"),
        ("jwks.json", set(&[p256_jwk("b")]).into_bytes(), "ES256"),
        (
            "oct.jwks",
            set(&[json!({"kty": "oct", "k": BASE64URL_NOPAD.encode(SECRET)})]).into(),
            "HS256",
        ),
    ];
    let tokens = [by_hs256(), by_eddsa(1), by_es256()].map(|by| (by.0, token(by, None)));
    for (name, content, algorithm) in files {
        let keys = keys(name, content);
        for (of, token) in &tokens {
            let wanted = match format!("{of:?}") {
                of if of == algorithm => Ok(()),
                of => Err(TokenFault::Algorithm(of)),
            };
            assert_eq!(judged(token, &keys), wanted, "{name} and a token by {of:?}");
        }
    }
}

#[test]
fn several_keys_hold_at_once_so_that_they_can_be_exchanged() {
    let all = [
        keys("old", b"an older secret that is still being exchanged"),
        keys("new", SECRET),
        keys("both.pem", format!("{}{}", ed25519_pem(1), p256_pem())),
        keys("jwks.json", json!({"keys": [ed25519_jwk(2, "a"), ed25519_jwk(3, "b")]}).to_string()),
    ]
    .concat();
    assert_eq!(all.len(), 6);
    for by in [by_hs256(), by_eddsa(1), by_eddsa(2), by_eddsa(3), by_es256()] {
        assert_eq!(judged(&token(by, None), &all), Ok(()));
    }
    assert_eq!(judged(&token(by_eddsa(9), None), &all), Err(TokenFault::Signature));
}

/// The oldest trick: what is public is taken for a shared secret.
#[test]
fn a_public_key_is_no_secret() {
    let public = ed25519_pem(1);
    let raw = ed25519(1).verifying_key();
    let jwks = json!({"keys": [p256_jwk("a")]}).to_string();
    let all =
        [keys("issuer.pem", &public), keys("jwks.json", &jwks), keys("secret", SECRET)].concat();
    let header = json!({"alg": "HS256"});
    for known in [public.as_bytes(), public.trim_end().as_bytes(), raw.as_bytes(), jwks.as_bytes()]
    {
        let token = forged(&header, &claims(), known);
        assert_eq!(judged(&token, &all), Err(TokenFault::Signature));
        assert_eq!(judged(&token, &all[..2]), Err(TokenFault::Algorithm("HS256".into())));
    }
    // A file that is named like a secret is not taken for one either, if it looks like a public key.
    for (content, ending) in [(&public, ".pem"), (&jwks, ".json"), (&format!("\n {jwks}"), ".json")]
    {
        let error = TokenKey::read("issuer", content.as_bytes()).unwrap_err();
        assert!(matches!(error, KeyError::LooksLike { ending: e, .. } if e == ending), "{error}");
    }
    let mut binary = vec![b'{'; 32];
    binary[31] = 0xff;
    assert_eq!(keys("secret", binary).len(), 1, "random bytes may begin like that");
}

#[test]
fn what_a_header_says_of_itself_opens_nothing() {
    let all = [keys("secret", SECRET), keys("jwks.json", ed25519_jwk(1, "a").to_string())].concat();
    let by = |header: Value| judged(&forged(&header, &claims(), SECRET), &all);
    assert_eq!(by(json!({"alg": "HS256"})), Ok(()), "it is the header alone that is wrong below");
    let own = b"a secret that whoever forges tokens made";
    let jwk = json!({"kty": "oct", "k": BASE64URL_NOPAD.encode(own)});
    let forger = forged(&json!({"alg": "HS256", "jwk": jwk}), &claims(), own);
    assert_eq!(judged(&forger, &all), Err(TokenFault::Signature), "a key that came along");
    let table = [
        (json!({"alg": "none"}), TokenFault::Form),
        (json!({"alg": "None"}), TokenFault::Form),
        (json!({"alg": ""}), TokenFault::Form),
        (json!({}), TokenFault::Form),
        (json!({"alg": "HS256", "crit": ["exp"]}), TokenFault::Critical),
        (json!({"alg": "HS256", "crit": ["b64"], "b64": false}), TokenFault::Critical),
        (json!({"alg": "HS256", "crit": []}), TokenFault::Critical),
        (json!({"alg": "HS256", "crit": "exp"}), TokenFault::Form),
        (json!({"alg": "HS384"}), TokenFault::Algorithm("HS384".into())),
        (json!({"alg": "RS256"}), TokenFault::Algorithm("RS256".into())),
        (json!({"alg": "EdDSA"}), TokenFault::Signature),
        (json!({"alg": "ES256"}), TokenFault::Algorithm("ES256".into())),
    ];
    for (header, wanted) in table {
        assert_eq!(by(header.clone()).unwrap_err(), wanted, "{header}");
    }
    for cut in ["", "a", "a.b", "a.b.c", "...", "a.b.c.d.e"] {
        assert_eq!(judged(cut, &all), Err(TokenFault::Form), "{cut:?}");
    }
    let good = token(by_hs256(), None);
    let unsigned = good.rsplit_once('.').unwrap().0;
    assert_eq!(judged(&format!("{unsigned}."), &all), Err(TokenFault::Signature));
}

#[test]
fn a_key_with_an_id_verifies_what_names_it_or_none() {
    let named =
        keys("jwks.json", json!({"keys": [ed25519_jwk(1, "a"), ed25519_jwk(2, "b")]}).to_string());
    assert_eq!(judged(&token(by_eddsa(1), Some("a")), &named), Ok(()));
    assert_eq!(judged(&token(by_eddsa(1), None), &named), Ok(()));
    assert_eq!(judged(&token(by_eddsa(1), Some("b")), &named), Err(TokenFault::Signature));
    assert_eq!(judged(&token(by_eddsa(1), Some("c")), &named), Err(TokenFault::UnknownKey));
    // Keys in PEM and secrets have no id, so what a token calls them is not looked at.
    assert_eq!(judged(&token(by_eddsa(1), Some("c")), &keys("a.pem", ed25519_pem(1))), Ok(()));
    assert_eq!(judged(&token(by_hs256(), Some("c")), &keys("secret", SECRET)), Ok(()));
}

#[test]
fn files_without_a_usable_key_are_refused_and_nothing_of_them_is_told() {
    let with = |mut jwk: Value, name: &str, value: Value| {
        jwk[name] = value;
        jwk.to_string()
    };
    let zero = BASE64URL_NOPAD.encode(&[0; 32]);
    let rsa = json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"});
    let private = pem("PRIVATE KEY", &pkcs8::of_seed(&[1; 32]));
    let k = BASE64URL_NOPAD.encode(b"too short a secret");
    let weak = BASE64URL_NOPAD.encode(&[&[1][..], &[0; 31]].concat());
    let table = [
        ("secret", String::new(), "0 bytes"),
        ("secret", "s3cr3t-s3cr3t-s3cr3t".into(), "20 bytes"),
        ("a.pem", String::new(), "no public key"),
        ("a.pem", "s3cr3t".into(), "no public key"),
        ("a.pem", format!("{}{private}", ed25519_pem(1)), "private key"),
        ("a.pem", pem("PUBLIC KEY", &[0x30, 0]), "neither Ed25519 nor P-256"),
        ("a.json", "s3cr3t".into(), "line 1, column 1"),
        ("a.json", r#"{"keys": [{"kty": "oct", "k": 5}]}"#.into(), "line 1"),
        ("a.json", "{}".into(), "no JWK"),
        ("a.json", json!({"keys": []}).to_string(), "no key in it"),
        ("a.json", json!({"keys": [rsa]}).to_string(), "no key in it"),
        ("a.json", with(ed25519_jwk(1, "a"), "use", json!("enc")), "no key in it"),
        ("a.json", with(ed25519_jwk(1, "a"), "key_ops", json!(["sign"])), "no key in it"),
        ("a.json", with(ed25519_jwk(1, "a"), "d", json!(zero)), "private key"),
        ("a.json", with(p256_jwk("a"), "d", json!(zero)), "private key"),
        ("a.json", with(ed25519_jwk(1, "a"), "alg", json!("HS256")), "'alg'"),
        ("a.json", with(ed25519_jwk(1, "a"), "x", json!("s3cr3t!")), "base64url"),
        ("a.json", with(ed25519_jwk(1, "a"), "x", json!("AAAA")), "point"),
        ("a.json", with(ed25519_jwk(1, "a"), "x", json!(weak)), "point"),
        ("a.json", with(p256_jwk("a"), "y", json!("AAAA")), "point"),
        ("a.json", with(p256_jwk("a"), "y", Value::Null), "missing"),
        ("a.json", json!({"kty": "oct", "k": k}).to_string(), "less than 32 bytes"),
    ];
    for (name, content, part) in table {
        let error = TokenKey::read(name, content.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(part), "{part} in: {error}, of {content}");
        assert!(!error.contains("s3cr3t"), "{error}");
    }
    let mixed = json!({"keys": [rsa, ed25519_jwk(1, "a")]}).to_string();
    assert_eq!(keys("a.json", mixed).len(), 1, "keys of other kinds stand beside ours");
    let shown = format!("{:?}", keys("secret", b"s3cr3t-s3cr3t-s3cr3t-s3cr3t-s3cr3t"));
    assert!(!shown.contains("s3cr3t"), "{shown}");
}

#[test]
fn claims_hold_for_their_pool_their_peer_and_their_time() {
    let secrets = keys("secret", SECRET);
    let judged_at = |claims: &Value, now| {
        let token = forged(&json!({"alg": "HS256"}), claims, SECRET);
        let claims = verify(token.as_bytes(), &secrets)?;
        claims.judge("ns/edge", &PEER, now).map(|()| claims.ends_unix())
    };
    let with = |name: &str, value: Value| {
        let mut claims = json!({"aud": "ns/edge", "exp": NOW});
        claims[name] = value;
        claims
    };
    let (mine, other) = (PEER.to_string(), PeerId::from_bytes([9; 32]).to_string());
    let ends = NOW + LEEWAY_SECONDS;
    let good = [
        with("sub", json!(mine)),
        with("aud", json!(["ns/other", "ns/edge"])),
        with("exp", json!(NOW as f64 + 0.5)),
        with("nbf", json!(NOW - 1)),
        with("grp", json!("g".repeat(128))),
    ];
    for claims in good {
        assert_eq!(judged_at(&claims, ends - 1), Ok(ends), "{claims}");
        assert_eq!(judged_at(&claims, ends), Err(TokenFault::Expired), "{claims}");
    }
    assert_eq!(judged_at(&with("nbf", json!(NOW - 10)), NOW - 41), Err(TokenFault::Early));
    assert_eq!(judged_at(&with("nbf", json!(NOW - 10)), NOW - 40), Ok(ends));
    let bad = [
        (with("sub", json!(other)), TokenFault::OtherPeer),
        (with("sub", json!("alice")), TokenFault::Subject),
        (with("aud", json!("ns/other")), TokenFault::Audience("ns/edge".into())),
        (with("aud", json!([])), TokenFault::Audience("ns/edge".into())),
        (with("aud", json!(5)), TokenFault::Claims),
        (with("aud", Value::Null), TokenFault::Missing("aud")),
        (with("exp", Value::Null), TokenFault::Missing("exp")),
        (with("exp", json!("5")), TokenFault::Claims),
        (with("exp", json!(-5)), TokenFault::Claims),
        (with("exp", json!(u64::MAX)), TokenFault::Claims),
        (with("grp", json!("g".repeat(129))), TokenFault::Group),
        (with("grp", json!(5)), TokenFault::Claims),
    ];
    for (claims, wanted) in bad {
        assert_eq!(judged_at(&claims, NOW), Err(wanted), "{claims}");
    }
}
