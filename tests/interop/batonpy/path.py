"""A local UDP socket: one end of a path."""

import asyncio
from collections.abc import Callable

Address = tuple[str, int]


class Path(asyncio.DatagramProtocol):
    """Gives what comes to `received`, with itself. `width` is the longest payload that passes, in both directions."""

    def __init__(self, received: Callable[["Path", bytes, Address], None], width: int):
        self.received = received
        self.width = width

    @classmethod
    async def open(cls, received: Callable[["Path", bytes, Address], None], local: str, width: int) -> "Path":
        """Binds a new port of an address."""
        loop = asyncio.get_running_loop()
        _, path = await loop.create_datagram_endpoint(lambda: cls(received, width), local_addr=(local, 0))
        return path

    @property
    def local(self) -> str:
        host, port = self.transport.get_extra_info("sockname")
        return f"{host}:{port}"

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Address) -> None:
        if len(data) <= self.width:
            self.received(self, data, address)

    def send(self, data: bytes, address: Address) -> None:
        self.transport.sendto(data, address)

    def close(self) -> None:
        self.transport.close()
