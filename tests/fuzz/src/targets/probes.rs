//! UDP datagrams that may be probes of paths, or replies to them.

use baton_protocol::id::RelayId;
use baton_protocol::path::probe::{LENGTH, MARK, id_of, read_reply, reply};
use baton_relay::probe_ids::ProbeKey;

use super::choice;

/// Any packet is a probe or none, and a reply or none; an id that was not given to anyone is nobody's.
pub(crate) fn probe(data: &[u8]) {
    let Some((how, data)) = choice(data) else { return };
    let mut packet = data.to_vec();
    if how & 1 == 0 {
        // Nearly no input has the right size and first bytes by itself.
        packet.resize(LENGTH, 0);
        (packet[0], packet[1]) = (0x40 | (packet[0] & 0x3f), MARK);
    }
    let Some(id) = id_of(&packet) else {
        assert!(how & 1 == 1, "it has the form of a probe");
        assert_eq!(read_reply(&packet), None);
        return;
    };
    let key = ProbeKey::new(RelayId::from_u32(1), [7; 16]);
    if let Some(known) = key.open(id) {
        assert_eq!(key.seal(known), id, "only what was given is known");
    }
    if let Some((of, said)) = read_reply(&packet) {
        assert_eq!(of, id);
        assert_eq!(read_reply(&reply(&id, &said)), Some((id, said)), "it is read as it is written");
    }
}
