//! The content of a pool's Secrets: random keys, and certificates of an authority of its own.
//!
//! The authority is good for ten years, the relays' certificate for one. Neither is renewed yet: a pool
//! that is a year old needs its Secret `<pool>-tls` made anew.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

use crate::names;
use crate::plan::action::SecretKind;
use crate::plan::snapshot::{Pool, Presence};
use crate::render;

const AUTHORITY_DAYS: i64 = 3650;
const CERTIFICATE_DAYS: i64 = 365;

/// A clock that is behind ours must not find the certificate to be of tomorrow.
const BACKDATED_HOURS: i64 = 1;

/// Why there is no Secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// A key or certificate could not be made.
    #[error("making a certificate")]
    Certificate(#[source] rcgen::Error),
    /// The authority's Secret does not hold what this operator put there.
    #[error("the Secret of the authority holds no {key}")]
    Authority {
        /// What is missing.
        key: &'static str,
    },
    /// The clock says a time that certificates cannot express.
    #[error("the clock is wrong")]
    Clock,
}

/// The keys that pods need of a Secret.
#[must_use]
pub fn required_keys(kind: SecretKind) -> &'static [&'static str] {
    match kind {
        SecretKind::Pool => &["current"],
        SecretKind::Auth => &[],
        SecretKind::Authority => &["ca.crt", "ca.key"],
        SecretKind::Certificate => &["tls.crt", "tls.key"],
    }
}

/// Is everything there? A Secret that lost a key is as good as missing. Of tokens' keys any will do.
#[must_use]
pub fn presence(kind: SecretKind, secret: Option<&Secret>) -> Presence {
    let Some(secret) = secret else { return Presence::Missing };
    let has = |key: &&str| value(secret, key).is_some_and(|value| !value.is_empty());
    let complete = required_keys(kind).iter().all(has);
    let empty = secret.data.as_ref().is_none_or(BTreeMap::is_empty);
    if complete && !empty { Presence::Present } else { Presence::Missing }
}

/// A Secret with new content. `authority` is needed for a certificate.
///
/// # Errors
/// When a certificate cannot be made.
pub fn make(
    pool: &Pool,
    kind: SecretKind,
    authority: Option<&Secret>,
    now: Timestamp,
) -> Result<Secret, SecretError> {
    let data = match kind {
        SecretKind::Pool => vec![("current", rand::random::<[u8; 32]>().to_vec())],
        SecretKind::Auth => {
            vec![("hs256", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()).into_bytes())]
        }
        SecretKind::Authority => new_authority(pool, now)?,
        SecretKind::Certificate => certificate(pool, authority, now)?,
    };
    let data = data.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value)));
    let type_ = match kind {
        SecretKind::Certificate => "kubernetes.io/tls",
        _ => "Opaque",
    };
    Ok(Secret {
        metadata: render::owned(pool, kind.name(&pool.name)),
        type_: Some(type_.to_owned()),
        data: Some(data.collect()),
        ..Secret::default()
    })
}

/// A value, as text.
#[must_use]
pub fn text(secret: &Secret, key: &str) -> Option<String> {
    String::from_utf8(value(secret, key)?.clone()).ok()
}

fn value<'a>(secret: &'a Secret, key: &str) -> Option<&'a Vec<u8>> {
    secret.data.as_ref()?.get(key).map(|value| &value.0)
}

type Data = Vec<(&'static str, Vec<u8>)>;

fn new_authority(pool: &Pool, now: Timestamp) -> Result<Data, SecretError> {
    let key = KeyPair::generate().map_err(SecretError::Certificate)?;
    let params = authority_params(pool, now)?;
    let certificate = params.self_signed(&key).map_err(SecretError::Certificate)?;
    Ok(vec![
        ("ca.crt", certificate.pem().into_bytes()),
        ("ca.key", key.serialize_pem().into_bytes()),
    ])
}

fn certificate(
    pool: &Pool,
    authority: Option<&Secret>,
    now: Timestamp,
) -> Result<Data, SecretError> {
    let part =
        |key| authority.and_then(|secret| text(secret, key)).ok_or(SecretError::Authority { key });
    let (ca_certificate, ca_key) = (part("ca.crt")?, part("ca.key")?);
    let ca_key = KeyPair::from_pem(&ca_key).map_err(SecretError::Certificate)?;
    // Its name and key are all that an issuer puts into what it signs.
    let issuer = Issuer::new(authority_params(pool, now)?, ca_key);

    let key = KeyPair::generate().map_err(SecretError::Certificate)?;
    let name = names::server_name(&pool.namespace, &pool.name);
    let mut params = CertificateParams::new(vec![name]).map_err(SecretError::Certificate)?;
    // A common name has at most 64 letters; the name that counts is the alternative one.
    params.distinguished_name.push(DnType::CommonName, "baton relay");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = validity(now, CERTIFICATE_DAYS)?;
    let certificate = params.signed_by(&key, &issuer).map_err(SecretError::Certificate)?;
    Ok(vec![
        ("tls.crt", certificate.pem().into_bytes()),
        ("tls.key", key.serialize_pem().into_bytes()),
        ("ca.crt", ca_certificate.into_bytes()),
    ])
}

fn authority_params(pool: &Pool, now: Timestamp) -> Result<CertificateParams, SecretError> {
    let mut params =
        CertificateParams::new(Vec::<String>::new()).map_err(SecretError::Certificate)?;
    // The UID, because two authorities of the same name and different keys confuse clients.
    params.distinguished_name.push(DnType::CommonName, format!("baton pool {}", pool.uid));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = validity(now, AUTHORITY_DAYS)?;
    Ok(params)
}

fn validity(now: Timestamp, days: i64) -> Result<(OffsetDateTime, OffsetDateTime), SecretError> {
    let now =
        OffsetDateTime::from_unix_timestamp(now.as_second()).map_err(|_| SecretError::Clock)?;
    let from = now.checked_sub(Duration::hours(BACKDATED_HOURS)).ok_or(SecretError::Clock)?;
    let to = now.checked_add(Duration::days(days)).ok_or(SecretError::Clock)?;
    Ok((from, to))
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use serde_json::json;

    use super::*;
    use crate::render::tests::pool;

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn verify(authority: &Secret, leaf: &Secret, name: &str, at: Timestamp) -> Result<(), String> {
        let pem = |secret, key| {
            CertificateDer::from_pem_slice(text(secret, key).unwrap().as_bytes()).unwrap()
        };
        let mut roots = rustls::RootCertStore::empty();
        roots.add(pem(authority, "ca.crt")).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(
            roots.into(),
            provider.into(),
        );
        let at = std::time::Duration::from_secs(at.as_second().try_into().unwrap());
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let verified = rustls::client::danger::ServerCertVerifier::verify_server_cert(
            verifier.build().unwrap().as_ref(),
            &pem(leaf, "tls.crt"),
            &[],
            &name,
            &[],
            UnixTime::since_unix_epoch(at),
        );
        verified.map(|_| ()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_client_that_trusts_the_pools_authority_trusts_its_relays_for_a_year() {
        let pool = pool(json!({}));
        let authority = make(&pool, SecretKind::Authority, None, now()).unwrap();
        let leaf = make(&pool, SecretKind::Certificate, Some(&authority), now()).unwrap();
        assert_eq!(leaf.type_.as_deref(), Some("kubernetes.io/tls"));
        assert_eq!(text(&leaf, "ca.crt"), text(&authority, "ca.crt"));

        let name = "edge.apps.baton.internal";
        assert_eq!(verify(&authority, &leaf, name, now()), Ok(()));
        let late: Timestamp = "2026-12-30T00:00:00Z".parse().unwrap();
        assert_eq!(verify(&authority, &leaf, name, late), Ok(()));
        let too_late: Timestamp = "2027-01-02T00:00:00Z".parse().unwrap();
        assert!(verify(&authority, &leaf, name, too_late).is_err());
        assert!(verify(&authority, &leaf, "edge.other.baton.internal", now()).is_err());

        let other = make(&pool, SecretKind::Authority, None, now()).unwrap();
        assert!(verify(&other, &leaf, name, now()).is_err());
    }

    #[test]
    fn keys_are_as_long_as_the_contract_says_and_never_the_same() {
        let pool = pool(json!({}));
        let make = |kind| make(&pool, kind, None, now()).unwrap();
        let current = |secret: &Secret| value(secret, "current").unwrap().clone();
        let (one, other) = (make(SecretKind::Pool), make(SecretKind::Pool));
        assert_eq!(current(&one).len(), 32);
        assert_ne!(current(&one), current(&other));
        let token_key = text(&make(SecretKind::Auth), "hs256").unwrap();
        assert_eq!(token_key.len(), 43);
        assert!(
            token_key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        );
    }

    #[test]
    fn a_secret_without_its_keys_is_missing() {
        let pool = pool(json!({}));
        let mut secret = make(&pool, SecretKind::Pool, None, now()).unwrap();
        assert_eq!(presence(SecretKind::Pool, Some(&secret)), Presence::Present);
        assert_eq!(presence(SecretKind::Certificate, Some(&secret)), Presence::Missing);
        secret.data = None;
        assert_eq!(presence(SecretKind::Auth, Some(&secret)), Presence::Missing);
        assert_eq!(presence(SecretKind::Pool, None), Presence::Missing);
    }

    #[test]
    fn a_certificate_needs_the_authority() {
        let pool = pool(json!({}));
        let made = make(&pool, SecretKind::Certificate, None, now());
        assert!(matches!(made, Err(SecretError::Authority { key: "ca.crt" })));
    }
}
