"""Probes of paths: section 13. They look like QUIC packets and are none."""

import itertools
import os
from dataclasses import dataclass

from .fields import Address, Body, FrameError

LENGTH = 1_200
ID_LENGTH = 17


@dataclass
class ProbeReply:
    probe_id: bytes
    ingress: bytes
    observed: str


def first_byte() -> int:
    """The upper bits are 01; the others are of any value."""
    return 0x40 | os.urandom(1)[0] & 0x3F


def write_probe(probe_id: bytes) -> bytes:
    return bytes([first_byte()]) + probe_id + os.urandom(LENGTH - 1 - ID_LENGTH)


def read_reply(data: bytes) -> ProbeReply | None:
    """What a reply says; nothing if it is none. The caller knows if its probe was sent, and from which socket."""
    if len(data) != LENGTH or data[0] >> 6 != 0b01:
        return None
    probe_id = data[1 : 1 + ID_LENGTH]
    body = Body(bytes(a ^ b for a, b in zip(data[1 + ID_LENGTH :], itertools.cycle(probe_id[1:]))))
    try:
        return ProbeReply(probe_id, body.take(4), Address().read(body))
    except FrameError:
        return None
