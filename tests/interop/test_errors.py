"""What a client must not do, and what that ends with: sections 4, 5, 12 and 17."""

import asyncio

from batonpy.frames import AFTER_WELCOME, BEFORE_WELCOME, enclose, write_frame
from batonpy.hello import NO_SIGNATURE
from batonpy.identity import Identity
from batonpy.link import CONTROL_STREAM
from batonpy.numbers import Capability, Close, Intent
from batonpy.session import Session
from batonpy.varint import write_varint
from case import RelayCase

PEER = Identity().peer
OPEN = write_frame("OPEN", alias=16, peer=PEER)
HELLO = write_frame(
    "HELLO", intent=0, peer=PEER, instance=bytes(16), capabilities=0, token=b"", ticket=b"", signature=NO_SIGNATURE
)

BEFORE_HELLO = {
    "another frame": OPEN,
    "an unknown type": enclose(0x3F, b""),
    "a body that is too long": write_varint(0x01) + write_varint(BEFORE_WELCOME + 1),
    "more bytes than may come before it": enclose(0x40, bytes(BEFORE_WELCOME)) * 5,
    "an unknown intent": enclose(0x01, b"\x03" + HELLO[4:]),
}
HOME = {
    "an unknown type": enclose(0x3F, b""),
    "a body that is too long": write_varint(0x04) + write_varint(AFTER_WELCOME + 1),
    "a body that is too long, of a type that is skipped": write_varint(0x7F) + write_varint(AFTER_WELCOME + 1),
    "a body that is too short": enclose(0x04, b"\x10" + PEER[:31]),
    "a body with more behind it": enclose(0x04, b"\x10" + PEER + b"\0"),
    "an alias that is reserved": enclose(0x04, b"\x0f" + PEER),
    "an unknown verb": enclose(0x55, b"\x04\x00"),
    "an unknown mode": enclose(0x54, b"\x03"),
    "an attempt without a number": enclose(0x53, b"\x00\x00\x00"),
    "a second HELLO": HELLO,
    "a frame that only relays send": write_frame("OPENED", alias=16),
    "one that old relays would skip": write_frame("LIMITED", kind=1, allowed=1),
    "OPEN with an alias that is in use": OPEN + OPEN,
    "SENDER_OK of an alias that was not given": write_frame("SENDER_OK", alias=16),
    "GOAWAY_ACK of none": write_frame("GOAWAY_ACK", sequence=0),
    "GOAWAY_ACK of one that was never sent": write_frame("GOAWAY_ACK", sequence=1),
    "ACTIVE": write_frame("ACTIVE"),
    "MOVED twice": write_frame("MOVED", stamp=bytes(8), relay=bytes(4)) * 2,
    "ACTIVE after MOVED": write_frame("MOVED", stamp=bytes(8), relay=bytes(4)) + write_frame("ACTIVE"),
}
STANDBY = {
    "MOVED": write_frame("MOVED", stamp=bytes(8), relay=bytes(4)),
    "RECLAIM": write_frame("RECLAIM", ticket=b""),
    "ACTIVE twice": write_frame("ACTIVE") * 2,
}


class Violations(RelayCase):
    async def violates(self, session: Session, data: bytes) -> None:
        session.send_bytes(data)
        await self.assert_ends(session, Close.PROTOCOL_VIOLATION)

    async def test_before_hello(self):
        for what, data in BEFORE_HELLO.items():
            with self.subTest(what):
                await self.violates(await self.dial(self.first), data)

    async def test_of_a_session_that_is_home(self):
        for what, data in HOME.items():
            with self.subTest(what):
                await self.violates(await self.attach(self.first), data)

    async def test_of_a_standby(self):
        for what, data in STANDBY.items():
            with self.subTest(what):
                session = await self.attach(self.second)
                await self.violates(await self.attach_again(self.first, Intent.HANDOVER, session), data)

    async def test_frames_before_the_error_count(self):
        watcher = await self.attach(self.first)
        identity = Identity()
        watcher.send("WATCH", peer=identity.peer)
        await watcher.frame("PRESENCE", state=0)
        session = await self.attach(self.first, identity, capabilities=Capability.POLICIES | Capability.POLICY_FIRST)
        await self.violates(session, write_frame("POLICY", mode=0) + enclose(0x3F, b""))
        await watcher.frame("PRESENCE", state=1)
        await watcher.frame("PRESENCE", state=0)

    async def test_the_end_of_the_control_stream(self):
        session = await self.attach(self.first)
        session.quic.send_stream_data(CONTROL_STREAM, b"", end_stream=True)
        session.driver.flush()
        await self.assert_ends(session, Close.PROTOCOL_VIOLATION)

    async def test_a_reset_of_the_control_stream(self):
        session = await self.attach(self.first)
        session.quic.reset_stream(CONTROL_STREAM, 0)
        session.driver.flush()
        await self.assert_ends(session, Close.PROTOCOL_VIOLATION)


class Limits(RelayCase):
    async def test_no_hello_in_time(self):
        session = await self.dial(self.first)
        began = asyncio.get_running_loop().time()
        await self.assert_ends(session, Close.HELLO_TIMEOUT, within=10)
        self.assertGreater(asyncio.get_running_loop().time() - began, 4)

    async def test_reclaim_has_a_pace(self):
        session = await self.attach(self.first)
        for _ in range(12):
            session.send("RECLAIM", ticket=b"")
        await self.assert_ends(session, Close.LIMIT_EXCEEDED)


class Skipped(RelayCase):
    async def test_unknown_types_that_may_be_skipped_are(self):
        session = await self.attach(self.first)
        for number in (0x47, 0x7F, 0x1234, 0x3FFFFFFF):
            session.send_bytes(enclose(number, b"whatever"))
        session.send_bytes(enclose(0x7F, bytes(AFTER_WELCOME)))
        await self.round_trip(session)

    async def test_before_hello_too(self):
        session = await self.dial(self.first)
        session.send_bytes(enclose(0x7F, b"whatever"))
        session.say_hello(Intent.FRESH, self.token())
        await self.welcomed(session)
