//! The proof that the fuzzer is guided: a bug behind four bytes, one chance in 2^32 for whoever only guesses.

use crate::Target;

/// See the [module](self). It is no part of [`crate::TARGETS`]: it has a finding.
pub const TARGET: Target = Target { name: "guidance", max_length: 64, run: planted };

/// What the planted bug says.
pub const SAYS: &str = "the planted bug was found";

/// A number and not bytes: bytes are compared by `memcmp`, at which libFuzzer looks even where nothing else is hooked.
const MAGIC: u32 = 0xba70_2ed1;

fn planted(data: &[u8]) {
    let number = data.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
    assert!(number != Some(MAGIC), "{SAYS}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "the planted bug was found")]
    fn the_bug_is_there() {
        planted(&[0xba, 0x70, 0x2e, 0xd1, 0]);
    }
}
