//! Variable-length integers (RFC 9000 section 16).

use bytes::BufMut;

/// The largest value: 2^62 - 1.
pub const MAX: u64 = (1 << 62) - 1;

/// Bytes that `value` takes, or `None` above [`MAX`].
#[must_use]
pub const fn length(value: u64) -> Option<usize> {
    match value {
        0..=0x3f => Some(1),
        0x40..=0x3fff => Some(2),
        0x4000..=0x3fff_ffff => Some(4),
        0x4000_0000..=MAX => Some(8),
        _ => None,
    }
}

/// Writes `value`; values above [`MAX`] are written as [`MAX`], because every number that this protocol sends is bounded far below.
pub fn write(value: u64, out: &mut impl BufMut) {
    match value {
        0..=0x3f => out.put_u8(value as u8),
        0x40..=0x3fff => out.put_u16(0x4000 | value as u16),
        0x4000..=0x3fff_ffff => out.put_u32(0x8000_0000 | value as u32),
        _ => out.put_u64(0xc000_0000_0000_0000 | value.min(MAX)),
    }
}

/// Reads one integer from the front of `bytes`: its value and its length, or `None` if bytes are missing.
#[must_use]
pub fn read(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = 1_usize << (first >> 6);
    let rest = bytes.get(1..length)?;
    let value =
        rest.iter().fold(u64::from(first & 0x3f), |value, byte| (value << 8) | u64::from(*byte));
    Some((value, length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_rfc_9000_appendix_a_1() {
        assert_eq!(
            read(&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c]),
            Some((151_288_809_941_952_652, 8))
        );
        assert_eq!(read(&[0x9d, 0x7f, 0x3e, 0x7d]), Some((494_878_333, 4)));
        assert_eq!(read(&[0x7b, 0xbd]), Some((15_293, 2)));
        assert_eq!(read(&[0x25]), Some((37, 1)));
        assert_eq!(read(&[0x40, 0x25]), Some((37, 2)), "longer than needed is allowed");
    }

    #[test]
    fn missing_bytes_are_missing() {
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[0xc0, 0, 0, 0, 0, 0, 0]), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in 0..=MAX) {
            let mut bytes = Vec::new();
            write(value, &mut bytes);
            prop_assert_eq!(Some(bytes.len()), length(value));
            prop_assert_eq!(read(&bytes), Some((value, bytes.len())));
        }
    }
}
