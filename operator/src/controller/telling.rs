//! Events as Kubernetes has them.

use kube::runtime::events::{Event as KubeEvent, EventType};

use crate::plan::action::Event;

/// The API allows 1024.
const NOTE_BYTES: usize = 1000;

/// The API allows so many.
const ACTION_BYTES: usize = 128;

/// What is told again is counted in the Event that is there, and only the first note is kept. "Again" means the same
/// reason and action: so the action says what happened to what, or the second pod that fails would be told with the first
/// one's words.
pub(super) fn told(event: &Event) -> KubeEvent {
    KubeEvent {
        type_: if event.warning { EventType::Warning } else { EventType::Normal },
        reason: event.reason.to_owned(),
        note: Some(beginning(&event.note, NOTE_BYTES)),
        action: beginning(&event.note, ACTION_BYTES),
        secondary: None,
    }
}

/// As much of the text as fits.
fn beginning(text: &str, bytes: usize) -> String {
    text[..text.floor_char_boundary(bytes)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(note: &str) -> KubeEvent {
        told(&Event { warning: true, reason: "PoolDegraded", note: note.to_owned() })
    }

    #[test]
    fn two_causes_of_one_reason_are_two_events() {
        let (one, other) = (event("a-0 does not start"), event("b-0 does not start"));
        assert_eq!(one.reason, other.reason);
        assert_ne!(one.action, other.action);
        assert_eq!(one.action, event("a-0 does not start").action, "told again, it is counted");
    }

    #[test]
    fn what_is_too_long_for_the_api_is_cut_between_letters() {
        let told = event(&format!("x{}", "\u{2026}".repeat(1000)));
        assert_eq!(told.note.map(|note| note.len()), Some(1000));
        assert_eq!(told.action.len(), 127, "the next letter has three bytes");
    }
}
