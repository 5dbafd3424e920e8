"""A session: the control stream of section 4, and the datagrams of section 9."""

import asyncio
from typing import Any

from .datagrams import PADDED, WITH_PAYLOAD, Datagram, read_datagram, write_datagram
from .deadline import PATIENCE, deadline
from .fields import FrameError
from .frames import AFTER_WELCOME, FROM_CLIENTS, Frame, FrameReader, write_frame
from .hello import hello, signature, unsigned_body
from .identity import Identity
from .inbox import Inbox
from .link import CONTROL_STREAM, End, Link, Pool
from .numbers import Capability, Close, Intent
from .quic import LONGEST_HEADER

EVERYTHING = Capability.STREAMS | Capability.RECLAIM | Capability.PATHS | Capability.POLICIES


class Session(Link):
    """Does by itself what a client must do at once, and keeps all that came for whoever asks.

    That is SENDER_OK, GOAWAY_ACK, ECHO_REPLY, keep-alives, and the latest ticket. All else is up to the caller.
    """

    def __init__(self, pool: Pool, identity: Identity):
        name = identity.text[:8]
        super().__init__(pool, name)
        self.identity = identity
        self.answers_senders = True
        self.answers_echo = True

        self.reader = FrameReader()
        self.frames: Inbox[Frame] = Inbox(f"frames of {name}")
        self.datagrams: Inbox[Datagram] = Inbox(f"datagrams of {name}")

        self.welcome: Frame | None = None
        self.capabilities = Capability(0)
        self.ticket = b""
        self.keep_alive: asyncio.TimerHandle | None = None
        self.presences = 0
        self.senders: dict[int, bytes] = {}
        self.probe_ids: list[bytes] = []
        self.next_alias = 16

    # What is said

    def say_hello(
        self, intent: Intent, token: bytes = b"", ticket: bytes = b"", capabilities: Capability = EVERYTHING
    ) -> bytes:
        """Sends HELLO, and tells its bytes."""
        unsigned = unsigned_body(self.identity, intent, capabilities, token, ticket)
        frame = hello(unsigned, signature(self.identity, unsigned, self.quic.export))
        self.send_bytes(frame)
        return frame

    def send(self, name: str, **fields: Any) -> None:
        self.send_bytes(write_frame(name, **fields))

    def send_bytes(self, data: bytes) -> None:
        """Sends anything on the control stream."""
        self.quic.send_stream_data(CONTROL_STREAM, data)
        self.driver.flush()

    def send_datagram(self, data: bytes) -> None:
        """Sends a datagram, by a stream of its own where the path is too narrow for it."""
        if len(data) + LONGEST_HEADER <= self.width:
            self.quic.send_datagram_frame(data)
        elif Capability.STREAMS in self.capabilities:
            stream = self.quic.get_next_available_stream_id(is_unidirectional=True)
            self.quic.send_stream_data(stream, data, end_stream=True)
        self.driver.flush()

    # What is heard

    async def answer(self) -> Frame:
        """WELCOME or REFUSED."""
        return await self.frames.take("WELCOME or REFUSED", lambda frame: frame.name in ("WELCOME", "REFUSED"))

    async def frame(self, name: str, within: float = PATIENCE, **fields: Any) -> Frame:
        """The next frame of this name with these values."""

        def fits(frame: Frame) -> bool:
            return frame.name == name and all(frame[field] == value for field, value in fields.items())

        return await self.frames.take(f"{name} with {fields}", fits, within)

    def waiting(self, name: str) -> list[Frame]:
        """The frames of this name that nobody has taken yet."""
        return [frame for frame in self.frames.items if frame.name == name]

    async def datagram(self, form: str, **fields: Any) -> Datagram:
        """The next datagram of this form with these values."""

        def fits(datagram: Datagram) -> bool:
            return datagram.form == form and all(datagram[field] == value for field, value in fields.items())

        return await self.datagrams.take(f"{form} with {fields}", fits)

    async def payload(self, payload: bytes, within: float = PATIENCE) -> Datagram:
        """The next datagram with this payload, whoever sent it in whatever form."""

        def fits(datagram: Datagram) -> bool:
            return datagram.form in WITH_PAYLOAD and datagram["payload"] == payload

        return await self.datagrams.take(f"the payload {payload[:20]!r} of {len(payload)} bytes", fits, within)

    async def sender_of(self, datagram: Datagram) -> bytes:
        """Who sent it, by SENDER, which may come after the first long forms."""
        if datagram.form == "aliased":
            return self.senders[datagram["alias"]]
        async with deadline(f"{self.name}: SENDER, to know whose prefix {datagram['sender'].hex()} is"):
            while not (known := [peer for peer in self.senders.values() if peer.startswith(datagram["sender"])]):
                await self.frame("SENDER")
        return known[0]

    # What comes

    def over(self, end: End) -> None:
        super().over(end)
        if self.keep_alive:
            self.keep_alive.cancel()
        self.frames.end(str(end))
        self.datagrams.end(str(end))

    def control_came(self, data: bytes) -> None:
        try:
            for frame in self.reader.read(data):
                if frame.name in FROM_CLIENTS:
                    raise FrameError(f"{frame.name} from a relay")
                self._obey(frame)
                self.frames.put(frame)
        except FrameError as error:
            self.frames.end(f"what the relay sent: {error}")
            self.close(Close.PROTOCOL_VIOLATION)

    def _obey(self, frame: Frame) -> None:
        if "ticket" in frame.fields:
            self.ticket = frame["ticket"]
        match frame.name:
            case "WELCOME":
                self.welcome = frame
                self.reader.limit = AFTER_WELCOME
                self._stay_alive()
            case "CAPABILITIES":
                self.capabilities = Capability(frame["capabilities"])
            case "SENDER":
                self.senders[frame["alias"]] = frame["peer"]
                if self.answers_senders:
                    self.send("SENDER_OK", alias=frame["alias"])
            case "GOAWAY":
                self.send("GOAWAY_ACK", sequence=frame["sequence"])
            case "PRESENCE":
                self.presences += 1
                if frame["sequence"] != self.presences:
                    raise FrameError(f"PRESENCE {frame['sequence']}, and not {self.presences}")
            case "PROBES":
                self.probe_ids = frame["probe ids"]

    def _stay_alive(self) -> None:
        """Sends PING, a little more often than WELCOME demands."""
        self.quic.send_ping(0)
        self.driver.flush()
        self.keep_alive = self.driver.loop.call_later(0.8 * self.welcome["keep_alive"] / 1_000, self._stay_alive)

    def datagram_came(self, data: bytes, carrier: str) -> None:
        """What is about a path is dropped if it comes by a stream (section 9)."""
        try:
            datagram = read_datagram(data, carrier)
        except FrameError:
            return
        if carrier == "stream" and datagram.form not in WITH_PAYLOAD:
            return
        if datagram.form == "echo" and self.answers_echo:
            self.send_datagram(write_datagram("echo_reply", PADDED, nonce=datagram["nonce"]))
        self.datagrams.put(datagram)
