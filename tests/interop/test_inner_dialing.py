"""The inner connection, dialed by this client: section 15. The other end is `baton run`, at the other relay."""

import asyncio
import os
import signal

from batonpy.identity import Identity
from batonpy.inner import Inner, InnerClose
from batonpy.inner_end import InnerEnd
from batonpy.inner_stream import Answer, Kind
from batonpy.routes import Route
from command import CommandCase

PING = b""  # a stream without a name asks for an echo


async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A service that answers when it has heard all, and then ends: half-closes must come through both ways."""
    writer.write(b"you said: " + await reader.read())
    writer.close()
    await writer.wait_closed()


class Echo(asyncio.DatagramProtocol):
    """A service that sends every datagram back."""

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self.transport.sendto(b"you said: " + data, address)


class Dialing(CommandCase):
    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        host, loop = self.second.host, asyncio.get_running_loop()
        tcp = await asyncio.start_server(answer_at_the_end, host, 0)
        self.addCleanup(tcp.close)
        udp, _ = await loop.create_datagram_endpoint(Echo, local_addr=(host, 0))
        self.addCleanup(udp.close)
        tcp_port, udp_port = tcp.sockets[0].getsockname()[1], udp.get_extra_info("sockname")[1]
        services = [
            {"name": "late", "tcp": f"{host}:{tcp_port}"},
            {"name": "echo", "udp": f"{host}:{udp_port}"},
            {"name": "others", "tcp": f"{host}:{tcp_port}", "allow": [Identity().text]},
            {"name": "down", "tcp": f"{host}:1"},
        ]
        self.process = await self.run_services(self.second, services)
        self.session = await self.attach(self.first)
        await self.watch_until_online(self.session, self.peer)
        self.end = InnerEnd(self.session)
        self.addCleanup(self.end.close)

    async def inner(self) -> Inner:
        return await self.end.dial(self.peer)

    async def test_a_ping_is_echoed(self):
        stream = (await self.inner()).open(Kind.STREAM, PING)
        self.assertEqual(await stream.answer(), Answer.YES)
        for ping in (b"one", b"another"):
            stream.write(ping)
            self.assertEqual(await stream.read(len(ping)), ping)
        stream.finish()
        self.assertEqual(await stream.read_to_end(), b"")

    async def test_a_stream_to_a_service_is_closed_in_halves(self):
        stream = (await self.inner()).open(Kind.STREAM, b"late")
        self.assertEqual(await stream.answer(), Answer.YES)
        said = os.urandom(100_000)
        stream.write(said)
        stream.finish()
        self.assertEqual(await stream.read_to_end(), b"you said: " + said)

    async def test_what_is_refused(self):
        inner = await self.inner()
        for kind, name, expected in (
            (Kind.STREAM, b"nobody", Answer.NO_SUCH_SERVICE),
            (Kind.STREAM, b"echo", Answer.NO_SUCH_SERVICE),
            (Kind.FLOW, b"late", Answer.NO_SUCH_SERVICE),
            (Kind.STREAM, b"others", Answer.NOT_ALLOWED),
            (Kind.STREAM, b"down", Answer.NOT_ANSWERING),
            (Kind.STREAM, b"no name", Answer.NOT_UNDERSTOOD),
            (Kind.STREAM, b"n" * 65, Answer.NOT_UNDERSTOOD),
            (9, b"late", Answer.NOT_UNDERSTOOD),
        ):
            with self.subTest(kind=kind, name=name):
                stream = inner.open(kind, name)
                self.assertEqual(await stream.answer(), expected)
                self.assertEqual(await stream.read_to_end(), b"")

    async def test_a_flow_carries_datagrams_of_any_length(self):
        inner = await self.inner()
        stream = inner.open(Kind.FLOW, b"echo")
        self.assertEqual(await stream.answer(), Answer.YES)
        for length, carrier in ((0, "datagram"), (1_000, "datagram"), (5_000, "stream")):
            payload = os.urandom(length)
            inner.send_datagram(stream.id, payload)
            answer = await inner.flow_datagram(stream.id)
            self.assertEqual((answer.payload, answer.carrier), (b"you said: " + payload, carrier))
        stream.finish()
        self.assertEqual(await stream.read_to_end(), b"", "the end in one direction is the end of the flow")

    async def test_two_connections_are_both_good(self):
        for inner in (await self.inner(), await self.inner()):
            stream = inner.open(Kind.STREAM, PING)
            self.assertEqual(await stream.answer(), Answer.YES)

    async def test_a_key_that_is_not_the_senders_is_turned_away(self):
        inner = Inner(await Route.open(self.session, self.peer), identity=Identity())
        self.end.connections.append(inner)
        await inner.connect()  # this end has nothing to complain of, and hears a little later
        with self.assertRaisesRegex(AssertionError, f"code {InnerClose.WRONG_KEY.value}"):
            await inner.opened.take("an end")

    async def test_an_end_that_closes_says_so_and_waits(self):
        inner = await self.inner()
        stream = inner.open(Kind.STREAM, b"late")
        self.assertEqual(await stream.answer(), Answer.YES)
        self.process.send_signal(signal.SIGTERM)
        closing = await inner.opened.take("a stream of kind 3")
        self.assertEqual(await closing.opening(), (Kind.CLOSING, b""))
        closing.finish()
        self.assertEqual(await inner.open(Kind.STREAM, b"late").answer(), Answer.CLOSING)
        stream.write(b"one thing more")
        stream.finish()
        self.assertEqual(await stream.read_to_end(), b"you said: one thing more")
        code, _ = await self.ended(self.process)
        self.assertEqual(code, 0)
