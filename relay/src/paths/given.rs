//! The probe ids of one session: which of them are good, and which were used.

use std::sync::atomic::{AtomicU32, Ordering};

/// How many ids a session is given at a time.
pub(crate) const GIVEN: u8 = 16;

/// Four bytes for each session: the generation of its ids in the upper half, and in the lower half those that may still be used. A
/// session that was given none has none.
#[derive(Debug, Default)]
pub(crate) struct Given(AtomicU32);

impl Given {
    /// New ids take the place of those before. Gives their generation.
    pub(crate) fn renew(&self) -> u16 {
        let next = |before: u32| Some(((before >> 16).wrapping_add(1) << 16) | 0xffff);
        let before = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        let before = before.unwrap_or_else(|before| before);
        ((before >> 16) as u16).wrapping_add(1)
    }

    /// Uses an id, if it is good and was not used yet. Whether it was.
    pub(crate) fn take(&self, generation: u16, number: u8) -> bool {
        let bit = if number < GIVEN { 1_u32 << number } else { return false };
        let used = |before: u32| {
            let good = (before >> 16) as u16 == generation && before & bit != 0;
            good.then_some(before & !bit)
        };
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, used).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_id_is_good_once_and_only_while_its_generation_is() {
        let given = Given::default();
        assert!(!given.take(0, 0), "none were given");
        let first = given.renew();
        for number in 0..GIVEN {
            assert!(given.take(first, number));
            assert!(!given.take(first, number));
        }
        assert!(!given.take(first, GIVEN) && !given.take(first, 255));
        let second = given.renew();
        assert_ne!(first, second);
        assert!(!given.take(first, 0));
        assert!(given.take(second, 0));
    }

    #[test]
    fn generations_go_on_after_the_last() {
        let given = Given(AtomicU32::new(0xffff_0000));
        assert_eq!(given.renew(), 0);
        assert!(given.take(0, 15));
        assert_eq!(given.renew(), 1);
    }
}
