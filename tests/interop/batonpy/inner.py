"""The inner connection between two peers: section 15. One packet of it is one payload of a route."""

import asyncio
import ssl
from dataclasses import dataclass
from enum import IntEnum

from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.packet import QuicProtocolVersion

from .certificate import certificate
from .deadline import deadline
from .driver import Driver
from .identity import Identity
from .inbox import Inbox
from .inner_stream import InnerStream, Kind
from .numbers import ALPN_INNER
from .quic import LONGEST_HEADER, Connection
from .routes import Route
from .varint import Incomplete, read_varint, write_varint

PACKET = 1_200
ANY_ADDRESS = ("192.0.2.1", 1)  # aioquic wants one; what is sent goes by the route


class InnerClose(IntEnum):
    DONE = 0
    WRONG_KEY = 1


class DatagramKind(IntEnum):
    NOTHING = 0
    FLOW = 1


@dataclass
class FlowDatagram:
    """A datagram of a flow, which the id of its stream names."""

    flow: int
    payload: bytes
    carrier: str


class Inner:
    """One inner connection, dialed by this end, or by the other if `first_destination` is the id that it dialed."""

    def __init__(self, route: Route, first_destination: bytes | None = None, identity: Identity | None = None):
        identity = identity or route.session.identity
        configuration = QuicConfiguration(
            is_client=first_destination is None,
            alpn_protocols=[ALPN_INNER],
            supported_versions=[QuicProtocolVersion.VERSION_1],
            certificate=certificate(identity),
            private_key=identity.key,
            verify_mode=ssl.CERT_NONE,  # the key is checked here, and nothing else of a certificate counts
            max_datagram_frame_size=65_535,
            max_datagram_size=PACKET,
        )
        self.route = route
        self.quic = Connection(configuration=configuration, original_destination_connection_id=first_destination)
        self.driver = Driver(self.quic, self._transmit, self._happened)
        self.connection_ids = {self.quic.host_cid, first_destination} - {None}
        self.connected: asyncio.Future[None] = self.driver.loop.create_future()
        self.streams: dict[int, InnerStream] = {}
        self.unidirectional: dict[int, bytes] = {}
        self.opened: Inbox[InnerStream] = Inbox("streams that the other end opened")
        self.flow_datagrams: Inbox[FlowDatagram] = Inbox("datagrams of flows")

    async def connect(self) -> None:
        """Dials. ConnectionError if it fails, as with an end that is not the peer of the route."""
        self.driver.connect(ANY_ADDRESS)
        async with deadline("an inner connection"):
            await self.connected

    def open(self, kind: Kind, name: bytes = b"") -> InnerStream:
        """Opens a stream; the caller waits for the answer."""
        stream = self._stream(self.quic.get_next_available_stream_id())
        stream.write(bytes([kind, len(name)]) + name)
        return stream

    def send_datagram(self, flow: int, payload: bytes) -> None:
        """Sends a datagram of a flow, by a stream of its own if it does not fit."""
        data = bytes([DatagramKind.FLOW]) + write_varint(flow) + payload
        if len(data) + LONGEST_HEADER <= PACKET:
            self.quic.send_datagram_frame(data)
        else:
            stream = self.quic.get_next_available_stream_id(is_unidirectional=True)
            self.quic.send_stream_data(stream, data, end_stream=True)
        self.driver.flush()

    async def flow_datagram(self, flow: int) -> FlowDatagram:
        return await self.flow_datagrams.take(f"a datagram of flow {flow}", lambda datagram: datagram.flow == flow)

    def close(self) -> None:
        self.driver.close(InnerClose.DONE, "")

    def receive(self, packet: bytes) -> None:
        self.driver.receive(packet, ANY_ADDRESS)

    def _transmit(self, packet: bytes, _address) -> None:
        self.route.send(packet)

    def _stream(self, stream_id: int) -> InnerStream:
        if stream_id not in self.streams:
            self.streams[stream_id] = InnerStream(self.driver, stream_id)
        return self.streams[stream_id]

    def _happened(self, event: events.QuicEvent) -> None:
        match event:
            case events.HandshakeCompleted():
                self._check_key()
            case events.ConnectionTerminated():
                self._end(f"code {event.error_code}, '{event.reason_phrase}'")
            case events.ConnectionIdIssued():
                self.connection_ids.add(event.connection_id)
            case events.ConnectionIdRetired():
                self.connection_ids.discard(event.connection_id)
            case events.StreamDataReceived() if event.stream_id & 0b10:
                self._read_unidirectional(event)
            case events.StreamDataReceived():
                self._read_bidirectional(event)
            case events.StreamReset():
                self._stream(event.stream_id).fail(event.error_code)
            case events.DatagramFrameReceived():
                self._read_datagram(event.data, "datagram")

    def _check_key(self) -> None:
        if self.quic.certified_key() == self.route.peer:
            self.connected.set_result(None)
        else:
            self.driver.close(InnerClose.WRONG_KEY, "")
            self._end("the wrong key of the other end")

    def _end(self, why: str) -> None:
        if not self.connected.done():
            self.connected.set_exception(ConnectionError(why))
        self.opened.end(why)
        self.flow_datagrams.end(why)

    def _read_bidirectional(self, event: events.StreamDataReceived) -> None:
        is_new = event.stream_id not in self.streams
        stream = self._stream(event.stream_id)
        if is_new:
            self.opened.put(stream)
        stream.feed(event.data, event.end_stream)

    def _read_unidirectional(self, event: events.StreamDataReceived) -> None:
        data = self.unidirectional.pop(event.stream_id, b"") + event.data
        if event.end_stream:
            self._read_datagram(data, "stream")
        else:
            self.unidirectional[event.stream_id] = data

    def _read_datagram(self, data: bytes, carrier: str) -> None:
        """Kind 0 means nothing, and other kinds are not known."""
        if data[:1] != bytes([DatagramKind.FLOW]):
            return
        try:
            flow, start = read_varint(data, 1)
        except Incomplete:
            return
        self.flow_datagrams.put(FlowDatagram(flow, data[start:], carrier))
