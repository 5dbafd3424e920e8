//! The probe ids of one session: which of them are good, and which were used.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many ids a session is given at a time.
pub(crate) const GIVEN: u8 = 16;

/// Eight bytes for each session: the generation of its latest ids, and which of them and of those before may still be used. Those
/// before are good for one generation more: new ones may be under way while they are used. A session that was given none has none.
#[derive(Debug, Default)]
pub(crate) struct Given(AtomicU64);

#[derive(Clone, Copy, Default)]
struct State {
    generation: u16,
    /// One bit for each.
    latest: u16,
    before: u16,
}

impl State {
    const fn of(packed: u64) -> Self {
        Self {
            generation: (packed >> 32) as u16,
            latest: (packed >> 16) as u16,
            before: packed as u16,
        }
    }

    const fn packed(self) -> u64 {
        (self.generation as u64) << 32 | (self.latest as u64) << 16 | self.before as u64
    }
}

impl Given {
    /// New ids. Those before the last ones are good no more. Gives their generation.
    pub(crate) fn renew(&self) -> u16 {
        let next = |state: State| State {
            generation: state.generation.wrapping_add(1),
            latest: u16::MAX,
            before: state.latest,
        };
        let change = |packed| Some(next(State::of(packed)).packed());
        let before = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, change);
        next(State::of(before.unwrap_or_else(|before| before))).generation
    }

    /// Uses an id, if it is good and was not used yet. Whether it was.
    pub(crate) fn take(&self, generation: u16, number: u8) -> bool {
        let bit = if number < GIVEN { 1_u16 << number } else { return false };
        let used = |packed| {
            let mut state = State::of(packed);
            let bits = match state.generation.wrapping_sub(generation) {
                0 => &mut state.latest,
                1 => &mut state.before,
                _ => return None,
            };
            let good = *bits & bit != 0;
            *bits &= !bit;
            good.then(|| state.packed())
        };
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, used).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_id_is_good_once() {
        let given = Given::default();
        assert!(!given.take(0, 0), "none were given");
        let first = given.renew();
        assert!(!given.take(first.wrapping_sub(1), 0), "none were given before");
        for number in 0..GIVEN {
            assert!(given.take(first, number));
            assert!(!given.take(first, number));
        }
        assert!(!given.take(first, GIVEN) && !given.take(first, 255));
    }

    #[test]
    fn ids_are_good_until_the_ones_after_the_next() {
        let given = Given::default();
        let first = given.renew();
        assert!(given.take(first, 0));
        let second = given.renew();
        assert_ne!(first, second);
        assert!(!given.take(first, 0), "it was used");
        assert!(given.take(first, 1) && given.take(second, 1));
        assert!(!given.take(first, 1) && !given.take(second, 1));
        given.renew();
        assert!(!given.take(first, 2));
        assert!(given.take(second, 2));
    }

    #[test]
    fn generations_go_on_after_the_last() {
        let last = State { generation: u16::MAX, latest: u16::MAX, before: 0 };
        let given = Given(AtomicU64::new(last.packed()));
        assert_eq!(given.renew(), 0);
        assert!(given.take(0, 15) && given.take(u16::MAX, 15));
        assert_eq!(given.renew(), 1);
        assert!(!given.take(u16::MAX, 14));
    }
}
