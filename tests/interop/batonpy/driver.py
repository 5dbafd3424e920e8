"""Runs a QUIC connection of aioquic, which does no input or output itself, on the event loop."""

import asyncio
from collections.abc import Callable

from aioquic.quic.events import QuicEvent

from .path import Address
from .quic import Connection


class Driver:
    """Gives a connection time and packets, its packets to `transmit`, and what happens to `happened`."""

    def __init__(
        self, quic: Connection, transmit: Callable[[bytes, Address], None], happened: Callable[[QuicEvent], None]
    ):
        self.quic = quic
        self.transmit = transmit
        self.happened = happened
        self.loop = asyncio.get_running_loop()
        self.timer: asyncio.TimerHandle | None = None

    def connect(self, address: Address) -> None:
        self.quic.connect(address, now=self.loop.time())
        self.flush()

    def receive(self, packet: bytes, address: Address) -> None:
        self.quic.receive_datagram(packet, address, now=self.loop.time())
        self._tell()
        self.flush()

    def flush(self) -> None:
        """Sends what is to be sent. To be called whenever the connection was given something."""
        for packet, address in self.quic.datagrams_to_send(now=self.loop.time()):
            self.transmit(packet, address)
        self._stop_timer()
        at = self.quic.get_timer()
        if at is not None:
            self.timer = self.loop.call_at(at, self._time_is_up)

    def close(self, code: int, reason: str) -> None:
        """Closes the connection, and does not wait until the other end has heard of it."""
        self.quic.close(error_code=code, reason_phrase=reason)
        self.flush()
        self._stop_timer()

    def _time_is_up(self) -> None:
        self.quic.handle_timer(now=self.loop.time())
        self._tell()
        self.flush()

    def _stop_timer(self) -> None:
        if self.timer:
            self.timer.cancel()
            self.timer = None

    def _tell(self) -> None:
        while (event := self.quic.next_event()) is not None:
            self.happened(event)
