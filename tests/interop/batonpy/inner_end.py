"""Where inner connections with all peers of a session begin: section 15."""

import asyncio

from .datagrams import WITH_PAYLOAD, Datagram
from .inbox import Inbox
from .inner import Inner
from .routes import Route
from .session import Session

FIXED_BIT = 0x40
LONG_HEADER = 0x80
ID_LENGTH = 8  # of the ids that this end gives


class InnerEnd:
    """Dials, accepts, and gives each packet to the connection that it belongs to."""

    def __init__(self, session: Session):
        self.session = session
        self.connections: list[Inner] = []
        self.accepted: Inbox[Inner] = Inbox("inner connections that other peers dialed")
        self.task = asyncio.create_task(self._distribute())

    async def dial(self, peer: bytes) -> Inner:
        inner = Inner(await Route.open(self.session, peer))
        self.connections.append(inner)
        await inner.connect()
        return inner

    async def accept(self, peer: bytes) -> Inner:
        """The next connection that a peer dialed."""
        inner = await self.accepted.take("an inner connection", lambda inner: inner.route.peer == peer)
        await inner.connected
        return inner

    def close(self) -> None:
        self.task.cancel()
        for inner in self.connections:
            inner.close()

    async def _distribute(self) -> None:
        async for packet in self.session.datagrams.all(is_packet):
            await self._receive(await self.session.sender_of(packet), packet["payload"])

    async def _receive(self, sender: bytes, packet: bytes) -> None:
        destination = destination_of(packet)
        for inner in self.connections:
            if inner.route.peer == sender and destination in inner.connection_ids:
                return inner.receive(packet)
        if packet[0] & LONG_HEADER:
            inner = Inner(await Route.open(self.session, sender), destination)
            self.connections.append(inner)
            self.accepted.put(inner)
            inner.receive(packet)


def is_packet(datagram: Datagram) -> bool:
    """Whether a payload is of an inner connection, and not the owner's own."""
    return datagram.form in WITH_PAYLOAD and bool(datagram["payload"][:1]) and bool(datagram["payload"][0] & FIXED_BIT)


def destination_of(packet: bytes) -> bytes:
    """The connection id that a packet goes to (RFC 9000 section 17)."""
    if packet[0] & LONG_HEADER:
        return packet[6 : 6 + packet[5]]
    return packet[1 : 1 + ID_LENGTH]
