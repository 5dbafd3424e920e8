"""Moving a session to another path on purpose: section 13."""

import time

from .datagrams import PADDED, Datagram, write_datagram
from .deadline import TooLate, deadline
from .numbers import Outcome
from .path import Path
from .probes import ProbeReply, write_probe
from .session import Session

AGAIN = 0.05  # PATH_CONFIRM is sent each max(50 ms, round trip)


def send_probe(session: Session, path: Path, probe_id: bytes) -> None:
    """Sends a probe from a socket that the connection does not use yet."""
    session.probed[probe_id] = path
    path.send(write_probe(probe_id), session.address)


async def probe(session: Session, path: Path) -> ProbeReply:
    """Uses up one probe id; a path that loses packets would need more."""
    probe_id = session.probe_ids.pop()
    send_probe(session, path, probe_id)
    return await session.probe_replies.take("a reply to a probe", lambda reply: reply.probe_id == probe_id)


def confirmation(number: int, nonce: bytes) -> bytes:
    """PATH_CONFIRM of an attempt, with the nonce of the latest ECHO, or zeros."""
    return write_datagram("path_confirm", PADDED, attempt=number.to_bytes(8, "big"), nonce=nonce)


class Attempt:
    """One attempt, from the switch on. Its number is above those of all earlier ones."""

    def __init__(self, session: Session, number: int):
        self.session = session
        self.number = number
        self.began = time.monotonic()

    async def switch(self, path: Path) -> None:
        """Sends from another socket, and confirms that it works in both directions."""
        self.session.path = path
        self.session.answers_echo = False  # PATH_CONFIRM is sent instead of ECHO_REPLY
        try:
            async with deadline(f"PATH_CONFIRMED of attempt {self.number}"):
                await self._confirm()
        finally:
            self.session.answers_echo = True

    async def _confirm(self) -> None:
        nonce = bytes(8)
        while True:
            self.session.send_datagram(confirmation(self.number, nonce))
            try:
                answer = await self.session.datagrams.take("ECHO or PATH_CONFIRMED", self._is_answer, AGAIN)
            except TooLate:
                continue
            if answer.form == "path_confirmed":
                return
            nonce = answer["nonce"]

    def _is_answer(self, datagram: Datagram) -> bool:
        confirmed = datagram.form == "path_confirmed" and int.from_bytes(datagram["attempt"], "big") == self.number
        return confirmed or datagram.form == "echo"

    def report(self, outcome: Outcome) -> None:
        took = round(1_000 * (time.monotonic() - self.began))
        self.session.send("PATH_REPORT", attempt=self.number, took=took, **{"class": outcome})
