"""Bidirectional streams of an inner connection: section 15."""

import asyncio
from enum import IntEnum

from .deadline import deadline
from .driver import Driver

UNWANTED = 1  # the code by which a stream that nobody wants is reset or stopped


class Kind(IntEnum):
    STREAM = 1
    FLOW = 2
    CLOSING = 3


class Answer(IntEnum):
    YES = 0
    NO_SUCH_SERVICE = 1
    NOT_ALLOWED = 2
    NOT_ANSWERING = 3
    NOT_UNDERSTOOD = 4
    CLOSING = 5


class InnerStream:
    """A stream to a service, or of a flow."""

    def __init__(self, driver: Driver, stream_id: int):
        self.driver = driver
        self.id = stream_id
        self.reader = asyncio.StreamReader()

    # Opening

    async def answer(self) -> Answer:
        """What the other end says to the opening of this one."""
        return Answer((await self.read(1))[0])

    async def opening(self) -> tuple[Kind, bytes]:
        """Kind and name, of a stream that the other end opened."""
        kind, length = await self.read(2)
        return Kind(kind), await self.read(length)

    def accept(self) -> None:
        self.write(bytes([Answer.YES]))

    def refuse(self, answer: Answer) -> None:
        """After an answer other than yes the stream is finished, and stopped."""
        self.write(bytes([answer]))
        self.finish()
        self.driver.quic.stop_stream(self.id, UNWANTED)
        self.driver.flush()

    # Bytes

    def write(self, data: bytes) -> None:
        self.driver.quic.send_stream_data(self.id, data)
        self.driver.flush()

    def finish(self) -> None:
        """No more bytes from this end. The other may go on."""
        self.driver.quic.send_stream_data(self.id, b"", end_stream=True)
        self.driver.flush()

    async def read(self, length: int) -> bytes:
        async with deadline(f"{length} bytes of an inner stream"):
            return await self.reader.readexactly(length)

    async def read_some(self) -> bytes:
        """What is there, at least one byte; nothing at the end."""
        return await self.reader.read(65_536)

    async def read_to_end(self) -> bytes:
        async with deadline("the end of an inner stream"):
            return await self.reader.read()

    def feed(self, data: bytes, is_end: bool) -> None:
        self.reader.feed_data(data)
        if is_end:
            self.reader.feed_eof()

    def fail(self, code: int) -> None:
        self.reader.set_exception(ConnectionResetError(f"the other end reset the stream with code {code}"))
