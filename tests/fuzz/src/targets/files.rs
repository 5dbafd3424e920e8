//! What people and other programs write: the drain flag, profiles, peer ids.

use baton_client::{Profile, ProfileError};
use baton_protocol::id::PeerId;
use baton_relay::drain::Flag;

/// Any text is a flag, none, or an error that fits a status page.
pub(crate) fn flag(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Flag::parse(text) {
        Ok(Some(flag)) => {
            assert!((1..=128).contains(&flag.id.len()) && flag.grace_seconds <= 86_400, "{flag:?}");
        }
        Ok(None) => assert!(text.trim().is_empty(), "{text:?} is no empty file"),
        Err(error) => {
            let said = error.to_string();
            assert!(said.len() < 1024, "an error of {} bytes", said.len());
        }
    }
}

/// Any bytes are a profile with all that a client needs, or an error that says all that is wrong.
pub(crate) fn profile(data: &[u8]) {
    match Profile::from_json(data) {
        Ok(profile) => {
            assert!(!profile.addresses.is_empty() && !profile.ca.is_empty(), "{profile:?}");
            assert_eq!(profile.audience.matches('/').count(), 1, "{profile:?}");
        }
        Err(ProfileError::Invalid(wrong)) => assert!(!wrong.is_empty()),
        Err(ProfileError::Json(_)) => {}
        Err(error @ (ProfileError::Read { .. } | ProfileError::File { .. })) => {
            panic!("there is no file: {error}")
        }
    }
}

/// Any text is a peer id, which is written as that text in small letters, or an error that does not repeat much of it.
pub(crate) fn peer_id(data: &[u8]) {
    if let Ok(bytes) = data.try_into() {
        let peer = PeerId::from_bytes(bytes);
        assert_eq!(peer.to_string().parse(), Ok(peer));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    match text.parse::<PeerId>() {
        Ok(peer) => assert_eq!(peer.to_string(), text.to_ascii_lowercase()),
        Err(error) => assert!(error.to_string().len() < 600, "{error}"),
    }
}
