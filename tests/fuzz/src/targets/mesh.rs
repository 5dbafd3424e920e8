//! What relays of a pool tell each other.

use baton_relay::mesh_wire::{Forward, MeshDecoder, MeshFrame};
use bytes::Bytes;

use super::{choice, frames, pieces};

/// The frames of a link, and whether all of it could be read.
fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<MeshFrame>, bool) {
    let mut decoder = MeshDecoder::default();
    let (frames, ended) = frames(pieces, |came| {
        came.into_iter().for_each(|piece| decoder.push(piece));
        decoder.next_frame()
    });
    (frames, ended.is_none())
}

/// Any bytes are frames or an error, the same ones however they are cut, and a frame comes back from its own bytes. The same
/// bytes as a forwarded datagram come back as they were.
pub(crate) fn mesh(data: &[u8]) {
    let Some((first, bytes)) = choice(data) else { return };
    let whole = read(std::iter::once(bytes));
    assert_eq!(whole, read(pieces(first, bytes)), "a stream is another one if it comes in pieces");
    let mut length = 0;
    for frame in &whole.0 {
        let written = frame.encode();
        length += written.len();
        assert_eq!(read(std::iter::once(&written[..])), (vec![frame.clone()], true));
    }
    assert!(length <= bytes.len());
    let datagram = Bytes::copy_from_slice(bytes);
    if let Some(forward) = Forward::decode(&datagram) {
        assert_eq!(forward.encode(), datagram);
    }
}
