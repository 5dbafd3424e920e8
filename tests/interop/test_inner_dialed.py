"""The inner connection, dialed by `baton ping` and `baton forward`: section 15. They are at the other relay."""

import asyncio
import json
import os
import socket

from batonpy.inner import Inner
from batonpy.inner_end import InnerEnd
from batonpy.inner_stream import Answer, InnerStream, Kind
from command import KEY, PROFILE, CommandCase

DEADLINE = 10  # the command dials when it is asked to, and only then


class Server:
    """Serves a ping and the services `echo`, of both kinds, and nothing else."""

    def __init__(self, inner: Inner):
        self.inner = inner
        self.tasks = {asyncio.create_task(self._accept()), asyncio.create_task(self._echo_datagrams())}

    def stop(self) -> None:
        for task in self.tasks:
            task.cancel()

    async def _accept(self) -> None:
        async for stream in self.inner.opened.all():
            self.tasks.add(asyncio.create_task(self._serve(stream)))

    async def _serve(self, stream: InnerStream) -> None:
        match await stream.opening():
            case (Kind.STREAM, b"" | b"echo"):
                stream.accept()
                while data := await stream.read_some():
                    stream.write(data)
                stream.finish()
            case (Kind.FLOW, b"echo"):
                stream.accept()
                await stream.read_some()  # its end is the flow's
                stream.finish()
            case (Kind.CLOSING, _):
                stream.finish()
            case _:
                stream.refuse(Answer.NO_SUCH_SERVICE)

    async def _echo_datagrams(self) -> None:
        async for datagram in self.inner.flow_datagrams.all():
            self.inner.send_datagram(datagram.flow, datagram.payload)


class Dialed(CommandCase):
    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.write_profile(self.second)
        self.session = await self.attach(self.first)
        self.text = self.session.identity.text
        self.end = InnerEnd(self.session)
        self.addCleanup(self.end.close)

    async def serve(self) -> None:
        """Accepts a connection of the command and serves it."""
        server = Server(await self.end.accept(self.peer))
        self.addCleanup(server.stop)

    async def test_a_ping_is_answered(self):
        process = await self.start("ping", "--profile", PROFILE, "--key", KEY, "--count", "2", "--json", self.text)
        await self.serve()
        code, output = await self.ended(process)
        self.assertEqual(code, 0)
        pings = [json.loads(line) for line in output.splitlines()]
        self.assertEqual(len(pings), 2, output)

    async def forward(self, service: str, *options: str) -> tuple[str, int]:
        """Where `baton forward` listens."""
        where = f"{self.second.host}:0"
        process = await self.start(
            "forward", *options, "--profile", PROFILE, "--key", KEY, where, f"{self.text}/{service}"
        )
        host, port = (await self.line(process)).rsplit(":", 1)
        return host, int(port)

    async def test_a_forwarded_stream_goes_through(self):
        reader, writer = await asyncio.open_connection(*await self.forward("echo"))
        self.addCleanup(writer.close)
        said = os.urandom(100_000)
        writer.write(said)
        await self.serve()
        self.assertEqual(await asyncio.wait_for(reader.readexactly(len(said)), DEADLINE), said)
        writer.write_eof()
        self.assertEqual(await asyncio.wait_for(reader.read(), DEADLINE), b"")

    async def test_a_forwarded_stream_to_no_service_ends(self):
        reader, writer = await asyncio.open_connection(*await self.forward("nobody"))
        self.addCleanup(writer.close)
        await self.serve()
        try:
            self.assertEqual(await asyncio.wait_for(reader.read(), DEADLINE), b"")
        except ConnectionResetError:
            pass  # ends like this are as good

    async def test_forwarded_datagrams_of_any_length_go_through(self):
        loop = asyncio.get_running_loop()
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(client.close)
        client.setblocking(False)
        client.connect(await self.forward("echo", "--udp"))
        client.send(b"hello")
        await self.serve()
        self.assertEqual(await asyncio.wait_for(loop.sock_recv(client, 65_535), DEADLINE), b"hello")
        for length in (0, 1_000, 5_000):
            said = os.urandom(length)
            client.send(said)
            self.assertEqual(await asyncio.wait_for(loop.sock_recv(client, 65_535), DEADLINE), said)
