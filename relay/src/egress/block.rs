//! Memory for the datagrams of one connection.
//!
//! An allocation for each datagram is a good part of what it costs to pass it on. So those that come close behind one another are
//! written into one block, which is used again from its beginning when quinn has sent all of them. Only what goes to quinn at once
//! is: it is sent in order and bounded, so a connection that takes nothing pins two blocks beside what quinn holds. What waits in
//! a queue, or came alone, has an allocation of its own: a session in which a datagram comes now and then keeps no block.

use baton_protocol::datagram::Header;
use bytes::{BufMut, Bytes, BytesMut};

/// In bytes: a batch of ten datagrams of the largest size.
const LENGTH: usize = 16 * 1024;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Block {
    /// None while there is no use for it: ten thousand sessions have a block each.
    bytes: Option<Box<BytesMut>>,
    was_used: bool,
}

impl Block {
    /// A datagram in this block, or in another one if it is full and still in use.
    pub(super) fn write(&mut self, header: &impl Header, payload: &[u8]) -> Bytes {
        self.was_used = true;
        let length = header.length() + payload.len();
        let bytes = self.bytes.get_or_insert_default();
        // From the beginning, if nothing of it is in use.
        if !bytes.try_reclaim(LENGTH) && bytes.capacity() < length {
            bytes.reserve(LENGTH.max(length));
        }
        header.write(bytes);
        bytes.put_slice(payload);
        bytes.split().freeze()
    }

    /// Gives it back, if it was not used since this was called last.
    pub(super) fn tidy(&mut self) {
        if !std::mem::take(&mut self.was_used) {
            self.bytes = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    struct Byte(u8);

    impl Header for Byte {
        fn length(&self) -> usize {
            1
        }

        fn write(&self, out: &mut BytesMut) {
            out.put_u8(self.0);
        }
    }

    #[test]
    fn a_batch_that_was_sent_leaves_its_memory_to_the_next() {
        let mut block = Block::default();
        let mut batch = |first: u8| -> Vec<_> {
            (first..first + 10).map(|number| block.write(&Byte(number), &[number; 1200])).collect()
        };
        let before = batch(0);
        let at = before[0].as_ptr();
        drop(before);
        for first in (10..200).step_by(10) {
            let datagrams = batch(first);
            assert_eq!(datagrams[0].as_ptr(), at);
            for (datagram, number) in datagrams.iter().zip(first..) {
                assert_eq!(**datagram, [number; 1201]);
            }
        }
    }

    #[test]
    fn what_is_in_use_is_never_written_to_and_pins_little() {
        let mut block = Block::default();
        let mut held = VecDeque::new();
        for round in 0..10_000_usize {
            let (number, length) = ((round % 251) as u8, round * 7 % 1400);
            held.push_back((number, length, block.write(&Byte(number), &vec![number; length])));
            // As much as quinn holds, at most.
            while held.iter().map(|(_, length, _)| length + 32).sum::<usize>() > LENGTH {
                let (number, length, datagram) = held.pop_front().unwrap();
                assert_eq!(datagram, vec![number; length + 1]);
            }
            let mut blocks: Vec<_> =
                held.iter().map(|(.., datagram)| datagram.as_ptr() as usize / LENGTH).collect();
            blocks.sort_unstable();
            blocks.dedup();
            // Each block may lie across two of these places.
            assert!(blocks.len() <= 6, "{} blocks", blocks.len());
        }
    }

    #[test]
    fn a_longer_datagram_than_a_block_has_one_of_its_own() {
        let mut block = Block::default();
        let longest = vec![7; LENGTH];
        let held: Vec<_> = (0..3).map(|number| block.write(&Byte(number), &longest)).collect();
        assert!((0..3).all(|number| held[number][0] == number as u8));
        assert!(held.iter().all(|datagram| datagram[1..] == longest));
    }

    #[test]
    fn what_is_not_used_for_a_while_is_given_back() {
        let mut block = Block::default();
        drop(block.write(&Byte(1), &[1; 1200]));
        block.tidy();
        assert!(block.bytes.is_some(), "it was used");
        block.tidy();
        assert!(block.bytes.is_none());
    }
}
