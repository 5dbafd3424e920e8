//! Control streams: any bytes are frames or an error, the same ones however they are cut; a frame that was read is written in
//! a form that is read as the same, and that is no longer than what came (it may be shorter: readers take long varints).

use baton_protocol::frame::{Decoder, Frame, FrameError, MAX_BODY, TYPES};
use baton_protocol::varint;

use super::{choice, frames, pieces};

/// The frames of a stream, and what ended it.
fn read<'a>(
    authenticated: bool,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<Frame>, Option<FrameError>) {
    let mut decoder = Decoder::new();
    if authenticated {
        decoder.authenticated();
    }
    frames(pieces, |came| {
        came.into_iter().for_each(|piece| decoder.push(piece));
        decoder.next_frame()
    })
}

/// A frame comes back from its own bytes, and those are the only ones that it is ever written as.
pub(crate) fn check(frame: &Frame) -> usize {
    let bytes = frame.encode();
    let mut decoder = Decoder::new();
    decoder.authenticated();
    decoder.push(&bytes);
    let back = decoder.next_frame();
    assert_eq!(back.as_ref(), Ok(&Some(frame.clone())), "a {} frame changed", frame.name());
    assert_eq!(decoder.next_frame(), Ok(None), "more was written than a frame");
    bytes.len()
}

/// Any bytes: the first chooses the limit and how the rest is cut.
pub(crate) fn stream(data: &[u8]) {
    let Some((first, bytes)) = choice(data) else { return };
    let authenticated = first & 1 == 1;
    let whole = read(authenticated, std::iter::once(bytes));
    let cut = read(authenticated, pieces(first >> 1, bytes));
    assert_eq!(whole, cut, "a stream is another one if it comes in pieces");
    let written: usize = whole.0.iter().map(check).sum();
    assert!(written <= bytes.len(), "{written} bytes from {}", bytes.len());
}

/// The body of a frame: the first byte chooses its type, so that no length must be guessed.
pub(crate) fn body(data: &[u8]) {
    let Some((first, body)) = choice(data) else { return };
    let (number, _) = TYPES[usize::from(first) % TYPES.len()];
    let mut bytes = Vec::new();
    varint::write(number, &mut bytes);
    varint::write(body.len() as u64, &mut bytes);
    bytes.extend_from_slice(body);
    assert!(body.len() <= MAX_BODY);
    match read(true, std::iter::once(&bytes[..])) {
        (frames, None) => {
            assert_eq!(frames.len(), 1, "one body, {} frames", frames.len());
            assert!(frames.iter().map(check).sum::<usize>() <= bytes.len());
        }
        (frames, Some(FrameError::Body { .. })) => assert!(frames.is_empty()),
        (_, Some(error)) => panic!("a body of {} bytes: {error}", body.len()),
    }
}
