"""One QUIC connection to a relay: section 2."""

import asyncio
from dataclasses import dataclass

from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.packet import QuicProtocolVersion

from .deadline import PATIENCE, deadline
from .driver import Driver
from .inbox import Inbox
from .numbers import ALPN, Close
from .path import Address, Path
from .probes import ProbeReply, read_reply
from .quic import Connection

CONTROL_STREAM = 0
WIDE = 1_280  # a path that takes the longest payload in a datagram
NARROW = 1_200  # the narrowest path that QUIC knows
LONGEST_BY_STREAM = 1_217  # section 9


@dataclass(frozen=True)
class Pool:
    """What a profile says of the relays, and how wide the path to them is."""

    server_name: str
    ca: str
    width: int = WIDE


@dataclass(frozen=True)
class End:
    """How a connection ended. `by_application` tells the codes of section 17 from those of QUIC."""

    code: int
    reason: str
    by_application: bool


class Link:
    """A connection over one of the sockets that the client has. What comes is for who inherits from this."""

    def __init__(self, pool: Pool, name: str):
        configuration = QuicConfiguration(
            alpn_protocols=[ALPN],
            supported_versions=[QuicProtocolVersion.VERSION_1],
            server_name=pool.server_name,
            cafile=pool.ca,
            max_datagram_frame_size=65_535,
            max_datagram_size=pool.width,
        )
        self.name = name
        self.width = pool.width
        self.quic = Connection(configuration=configuration)
        self.driver = Driver(self.quic, self._transmit, self._happened)
        self.connected: asyncio.Future[None] = self.driver.loop.create_future()
        self.ended: asyncio.Future[End] = self.driver.loop.create_future()
        self.streams: dict[int, bytes] = {}
        self.paths: list[Path] = []
        self.probed: dict[bytes, Path] = {}
        self.probe_replies: Inbox[ProbeReply] = Inbox(f"replies to probes of {name}")

    def control_came(self, data: bytes) -> None:
        raise NotImplementedError

    def datagram_came(self, data: bytes, carrier: str) -> None:
        raise NotImplementedError

    async def dial(self, address: Address, local: str) -> None:
        """Connects from a new socket. ConnectionError if the relay takes no connection."""
        self.address = address
        self.path = await self.add_path(local)
        self.driver.connect(address)
        async with deadline(f"{self.name}: a connection"):
            await self.connected

    async def add_path(self, local: str) -> Path:
        """Another socket, which the connection does not use yet."""
        path = await Path.open(self._received, local, self.width)
        self.paths.append(path)
        return path

    def close(self, code: Close = Close.DONE) -> None:
        self.driver.close(code, code.name.lower())
        self.over(End(code, code.name.lower(), by_application=True))

    def vanish(self) -> None:
        """Ends without a word, like a process that is killed."""
        self.driver.transmit = lambda packet, address: None
        self.close()

    async def end(self, within: float = PATIENCE) -> End:
        """How the connection ended, when it has."""
        async with deadline(f"{self.name}: the end of the connection", within):
            return await asyncio.shield(self.ended)

    def over(self, end: End) -> None:
        """The connection has ended. The first reason counts."""
        if self.ended.done():
            return
        self.ended.set_result(end)
        if not self.connected.done():
            self.connected.set_exception(ConnectionError(end))
        self.probe_replies.end(str(end))
        for path in self.paths:
            path.close()

    def _transmit(self, packet: bytes, address: Address) -> None:
        self.path.send(packet, address)

    def _received(self, path: Path, data: bytes, address: Address) -> None:
        """Replies to probes come beside QUIC, and count at the socket that sent the probe (section 13)."""
        reply = read_reply(data)
        if reply and self.probed.get(reply.probe_id) is path:
            self.probe_replies.put(reply)
        elif not self.ended.done():
            self.driver.receive(data, address)

    def _happened(self, event: events.QuicEvent) -> None:
        match event:
            case events.HandshakeCompleted():
                self.connected.set_result(None)
            case events.ConnectionTerminated():
                self.over(End(event.error_code, event.reason_phrase, event.frame_type is None))
            case events.StreamDataReceived(stream_id=stream) if stream == CONTROL_STREAM:
                self.control_came(event.data)
            case events.StreamDataReceived():
                self._stream_came(event)
            case events.StreamReset():
                self.streams.pop(event.stream_id, None)
            case events.DatagramFrameReceived():
                self.datagram_came(event.data, "datagram")

    def _stream_came(self, event: events.StreamDataReceived) -> None:
        """A stream of the relay holds one datagram; a longer one is dropped (section 9)."""
        data = self.streams.pop(event.stream_id, b"") + event.data
        if not event.end_stream:
            self.streams[event.stream_id] = data[: LONGEST_BY_STREAM + 1]
        elif len(data) <= LONGEST_BY_STREAM:
            self.datagram_came(data, "stream")
