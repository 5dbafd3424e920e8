//! Addresses that stand for peers: what the inner endpoint takes for the network.

use std::collections::HashMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Mutex;

use baton_protocol::id::PeerId;

use crate::session::queue::lock;

/// Peers that have an address at a time. The one that was quiet for longest loses its own when there are too many.
const LIMIT: usize = 16 * 1024;

/// A port means nothing here.
const PORT: u16 = 1;

/// fd00:ba70::/32, from the range that no network routes (RFC 4193), and a number below.
const PREFIX: u128 = 0xfd00_ba70 << 96;

#[derive(Debug)]
struct Known {
    number: u64,
    used: u64,
}

#[derive(Debug, Default)]
struct Table {
    by_peer: HashMap<PeerId, Known>,
    by_number: HashMap<u64, PeerId>,
    next: u64,
    clock: u64,
}

/// Which address stands for which peer. An address never stands for another peer later.
#[derive(Debug)]
pub(crate) struct Addresses {
    table: Mutex<Table>,
    limit: usize,
}

impl Default for Addresses {
    fn default() -> Self {
        Self { table: Mutex::default(), limit: LIMIT }
    }
}

impl Addresses {
    /// The address that stands for `peer`.
    pub(crate) fn of(&self, peer: PeerId) -> SocketAddr {
        let mut guard = lock(&self.table);
        let table = &mut *guard;
        table.clock += 1;
        if let Some(known) = table.by_peer.get_mut(&peer) {
            known.used = table.clock;
            return address(known.number);
        }
        if table.by_peer.len() >= self.limit
            && let Some(quietest) =
                table.by_peer.iter().min_by_key(|(_, known)| known.used).map(|(peer, _)| *peer)
            && let Some(known) = table.by_peer.remove(&quietest)
        {
            table.by_number.remove(&known.number);
        }
        table.next += 1;
        table.by_peer.insert(peer, Known { number: table.next, used: table.clock });
        table.by_number.insert(table.next, peer);
        address(table.next)
    }

    /// The peer that an address stands for.
    pub(crate) fn peer(&self, address: SocketAddr) -> Option<PeerId> {
        let SocketAddr::V6(address) = address else { return None };
        let number = u64::try_from(u128::from(*address.ip()) ^ PREFIX).ok()?;
        lock(&self.table).by_number.get(&number).copied()
    }
}

fn address(number: u64) -> SocketAddr {
    (Ipv6Addr::from(PREFIX | u128::from(number)), PORT).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> PeerId {
        PeerId::from_bytes([n; 32])
    }

    #[test]
    fn an_address_stands_for_one_peer() {
        let addresses = Addresses::default();
        let (one, two) = (addresses.of(peer(1)), addresses.of(peer(2)));
        assert_ne!(one, two);
        assert_eq!(addresses.of(peer(1)), one);
        assert_eq!(addresses.peer(one), Some(peer(1)));
        assert_eq!(addresses.peer(two), Some(peer(2)));
        assert_eq!(one.to_string(), "[fd00:ba70::1]:1");
        for stranger in ["[fd00:ba70::3]:1", "[::1]:1", "1.2.3.4:1"] {
            assert_eq!(addresses.peer(stranger.parse().unwrap()), None);
        }
    }

    #[test]
    fn the_quietest_makes_room_and_its_address_is_not_used_again() {
        let addresses = Addresses { limit: 2, ..Addresses::default() };
        let (one, two) = (addresses.of(peer(1)), addresses.of(peer(2)));
        addresses.of(peer(1));
        let three = addresses.of(peer(3));
        assert_eq!(addresses.peer(two), None);
        assert_eq!(addresses.peer(one), Some(peer(1)));
        assert_ne!(three, two);
        assert_ne!(addresses.of(peer(2)), two);
    }
}
