"""Routes and datagrams: section 9. The two ends are at two relays."""

import os

from batonpy.datagrams import write_datagram
from batonpy.identity import Identity
from batonpy.link import NARROW, WIDE
from batonpy.numbers import Capability, Intent, Notice
from batonpy.routes import Route
from batonpy.session import EVERYTHING
from case import RelayCase


class Forms(RelayCase):
    async def test_long_form_until_sender_ok_then_short_form(self):
        receiver = await self.attach(self.second)
        receiver.answers_senders = False
        sender = await self.attach(self.first)
        route = await self.route(sender, receiver.identity.peer)

        route.send(b"one")
        route.send(b"two")
        for payload in (b"one", b"two"):
            datagram = await receiver.payload(payload)
            self.assertEqual((datagram.form, datagram["sender"]), ("long", sender.identity.peer[:16]))
        announced = await receiver.frame("SENDER", peer=sender.identity.peer)

        receiver.send("SENDER_OK", alias=announced["alias"])
        await self.round_trip(receiver)
        route.send(b"three")
        datagram = await receiver.payload(b"three")
        self.assertEqual((datagram.form, datagram["alias"]), ("aliased", announced["alias"]))

    async def test_a_sender_that_comes_back_has_its_alias(self):
        receiver = await self.attach(self.second)
        sender = await self.attach(self.first)
        (await self.route(sender, receiver.identity.peer)).send(b"before")
        await receiver.payload(b"before")
        again = await self.attach_again(self.first, Intent.RESUME, sender)
        (await self.route(again, receiver.identity.peer)).send(b"after")
        datagram = await receiver.payload(b"after")
        self.assertEqual(await receiver.sender_of(datagram), sender.identity.peer)
        self.assertEqual(list(receiver.senders.values()), [sender.identity.peer])


class Lengths(RelayCase):
    async def passes(self, sender_width: int, receiver_width: int, length: int, carrier: str) -> None:
        receiver = await self.attach(self.second, width=receiver_width)
        sender = await self.attach(self.first, width=sender_width)
        route = await self.route(sender, receiver.identity.peer)
        payload = os.urandom(length)
        # Until the relay has found out what a path takes, it uses streams. So it is sent until it comes as it should.
        for _ in range(100):
            route.send(payload)
            if (await receiver.payload(payload)).carrier == carrier:
                return
        self.fail(f"{length} bytes never came by a {carrier}")

    async def test_nothing(self):
        await self.passes(WIDE, WIDE, 0, "datagram")

    async def test_the_longest(self):
        await self.passes(WIDE, WIDE, 1_200, "datagram")

    async def test_the_longest_by_a_stream_where_the_receiver_has_a_narrow_path(self):
        await self.passes(WIDE, NARROW, 1_200, "stream")

    async def test_the_longest_by_a_stream_where_the_sender_has_a_narrow_path(self):
        await self.passes(NARROW, WIDE, 1_200, "datagram")

    async def test_without_streams_what_does_not_fit_is_dropped(self):
        receiver = await self.attach(self.second, width=NARROW, capabilities=EVERYTHING & ~Capability.STREAMS)
        sender = await self.attach(self.first)
        route = await self.route(sender, receiver.identity.peer)
        for _ in range(3):
            route.send(bytes(1_200))
            route.send(b"short")
            await receiver.payload(b"short")
        self.assertEqual(receiver.datagrams.items, [])


class Routes(RelayCase):
    async def test_to_nobody_there_is_a_notice(self):
        session = await self.attach(self.first)
        route = await Route.open(session, Identity().peer)
        route.send(b"anybody?")
        await session.frame("NOTICE", alias=route.alias, code=Notice.OFFLINE)

    async def test_to_another_group_there_is_a_notice(self):
        stranger = await self.attach(self.second, group="theirs")
        session = await self.attach(self.first, group="ours")
        route = await Route.open(session, stranger.identity.peer)
        route.send(b"anybody?")
        await session.frame("NOTICE", alias=route.alias, code=Notice.OFFLINE)

    async def test_to_itself(self):
        session = await self.attach(self.first)
        route = await Route.open(session, session.identity.peer)
        route.send(b"hello, me")
        datagram = await session.payload(b"hello, me")
        self.assertEqual(await session.sender_of(datagram), session.identity.peer)

    async def test_after_shut_an_alias_may_be_used_again(self):
        others = [await self.attach(self.second) for _ in range(2)]
        session = await self.attach(self.first)
        route = await self.route(session, others[0].identity.peer)
        route.send(b"to the first")
        await others[0].payload(b"to the first")

        await self.watch_until_online(session, others[1].identity.peer)
        route.shut()
        session.send("OPEN", alias=route.alias, peer=others[1].identity.peer)
        await session.frame("OPENED", alias=route.alias)
        route.send(b"to the second")
        await others[1].payload(b"to the second")

    async def test_as_many_as_welcome_says(self):
        session = await self.attach(self.first)
        most = session.welcome["max_routes"]
        for alias in range(16, 16 + most + 1):
            session.send("OPEN", alias=alias, peer=session.identity.peer)
        await session.frame("OPENED", alias=16 + most - 1)
        await session.frame("NOTICE", alias=16 + most, code=Notice.TOO_MANY)
        await session.frame("LIMITED", allowed=most)


class Echo(RelayCase):
    async def test_a_relay_answers_one_of_a_client(self):
        session = await self.attach(self.first)
        session.send_datagram(write_datagram("echo", 1_150, nonce=b"a nonce."))
        await session.datagram("echo_reply", nonce=b"a nonce.")

    async def test_what_is_reserved_is_dropped(self):
        session = await self.attach(self.first)
        for data in (b"", b"\x05reserved", b"\x04" + bytes(8), b"\x00" + bytes(16), b"\x20no route"):
            session.send_datagram(data)
        session.send_datagram(write_datagram("echo", nonce=b"a nonce."))
        await session.datagram("echo_reply", nonce=b"a nonce.")
        self.assertEqual(session.datagrams.items, [])
