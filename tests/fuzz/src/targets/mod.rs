//! The targets, by what they read.

pub(crate) mod datagrams;
pub(crate) mod files;
pub(crate) mod frames;
pub(crate) mod hello;
pub(crate) mod mesh;
pub(crate) mod probes;
pub(crate) mod session;

/// Takes the first byte of an input for a choice, and leaves the rest.
fn choice(data: &[u8]) -> Option<(u8, &[u8])> {
    data.split_first().map(|(first, rest)| (*first, rest))
}

/// Cuts bytes into pieces as a network might: in one, or in many of a size that the input chooses.
fn pieces(choice: u8, bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let size = if choice == 0 { bytes.len() } else { usize::from(choice) };
    bytes.chunks(size.max(1))
}

/// All frames that a decoder makes of a stream that comes in pieces, and what ended it.
fn frames<'a, F, E>(
    pieces: impl Iterator<Item = &'a [u8]>,
    mut decode: impl FnMut(Option<&[u8]>) -> Result<Option<F>, E>,
) -> (Vec<F>, Option<E>) {
    let mut frames = Vec::new();
    for piece in pieces {
        let mut came = decode(Some(piece));
        loop {
            match came {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
            came = decode(None);
        }
    }
    (frames, None)
}
