"""HELLO and its signature: section 6."""

import hashlib
from collections.abc import Callable

from .frames import FRAMES, enclose, write_body
from .identity import Identity

LABEL = b"EXPORTER-baton-hello"
NO_SIGNATURE = bytes(64)

Exporter = Callable[[bytes, bytes, int], bytes]


def unsigned_body(identity: Identity, intent: int, capabilities: int, token: bytes = b"", ticket: bytes = b"") -> bytes:
    """The body of HELLO up to, and without, the signature."""
    body = write_body(
        "HELLO",
        intent=intent,
        peer=identity.peer,
        instance=identity.instance,
        capabilities=capabilities,
        token=token,
        ticket=ticket,
        signature=NO_SIGNATURE,
    )
    return body[: -len(NO_SIGNATURE)]


def signature(identity: Identity, unsigned: bytes, exporter: Exporter) -> bytes:
    """What binds HELLO to its connection, whose exporter this is."""
    return identity.key.sign(b"baton/1 hello\0" + exporter(LABEL, hashlib.sha256(unsigned).digest(), 32))


def hello(unsigned: bytes, signed: bytes) -> bytes:
    """The whole frame."""
    return enclose(FRAMES["HELLO"][0], unsigned + signed)
