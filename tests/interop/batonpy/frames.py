"""Frames of the control stream: the form of section 4, the bodies of section 5."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .fields import ALIAS, DURATION, Address, Body, Byte, Bytes, Fixed, FrameError, Many, Number, OnlyIf, Text
from .varint import Incomplete, read_varint, write_varint

BEFORE_WELCOME = 4_096
AFTER_WELCOME = 16_384
FIRST_SKIPPED = 0x40

PEER = Fixed(32)
STAMP = Fixed(8)
RELAY = Fixed(4)
TICKET = Bytes(512)
TOKEN = Bytes(2_048)
ROUTE_IDS = Many(16, 17)
REFUSAL = {
    "code": Byte(range(1, 11)),
    "retry": Byte(range(3)),
    "delay": OnlyIf("retry", 1, DURATION),
    "message": Text(256),
}

FRAMES: dict[str, tuple[int, dict[str, Any]]] = {
    "HELLO": (0x01, {
        "intent": Byte(range(3)),
        "peer": PEER,
        "instance": Fixed(16),
        "capabilities": Number(),
        "token": TOKEN,
        "ticket": TICKET,
        "signature": Fixed(64),
    }),
    "WELCOME": (0x02, {
        "session": Fixed(8),
        "relay": RELAY,
        "epoch": Fixed(4),
        "stamp": STAMP,
        "observed": Address(),
        "max_datagram": Number(),
        "max_routes": Number(),
        "max_watches": Number(),
        "idle": DURATION,
        "keep_alive": DURATION,
        "ticket": TICKET,
        "route ids": ROUTE_IDS,
    }),
    "REFUSED": (0x03, REFUSAL),
    "OPEN": (0x04, {"alias": ALIAS, "peer": PEER}),
    "OPENED": (0x05, {"alias": ALIAS}),
    "SHUT": (0x06, {"alias": ALIAS}),
    "SENDER": (0x07, {"alias": ALIAS, "peer": PEER}),
    "SENDER_OK": (0x08, {"alias": ALIAS}),
    "NOTICE": (0x09, {"alias": ALIAS, "code": Byte(range(1, 4))}),
    "WATCH": (0x0A, {"peer": PEER}),
    "UNWATCH": (0x0B, {"peer": PEER}),
    "PRESENCE": (0x0C, {"sequence": Number(), "peer": PEER, "state": Byte(range(2))}),
    "RESYNC": (0x0D, {}),
    "GOAWAY": (0x10, {
        "sequence": Number(),
        "reason": Byte(range(4)),
        "deadline": Number(1, DURATION.highest),
        "reconnect_after": DURATION,
        "route ids": ROUTE_IDS,
        "ticket": TICKET,
    }),
    "GOAWAY_ACK": (0x11, {"sequence": Number()}),
    "GOAWAY_CANCEL": (0x12, {"sequence": Number()}),
    "ACTIVE": (0x13, {}),
    "ACTIVE_OK": (0x14, {"stamp": STAMP}),
    "MOVED": (0x15, {"stamp": STAMP, "relay": RELAY}),
    "MOVED_OK": (0x16, {}),
    "RECLAIM": (0x17, {"ticket": TICKET}),
    "ROUTE_REFRESHED": (0x18, {"peer": PEER}),
    "RECLAIMED": (0x1F, {"stamp": STAMP, "ticket": TICKET}),
    "LIMITED": (0x41, {"kind": Byte(range(1, 9)), "allowed": Number()}),
    "CAPABILITIES": (0x42, {"capabilities": Number()}),
    "PROBES": (0x43, {"probe ids": Many(16, 17)}),
    "KNOCK": (0x44, {"peer": PEER}),
    "RULED": (0x45, {"result": Byte(range(2)), "allowed": OnlyIf("result", 1, Number())}),
    "STRANGER": (0x46, {"peer": PEER}),
    "RENEW": (0x50, {"token": TOKEN}),
    "RENEWED": (0x51, {"expires": Fixed(8), "ticket": TICKET}),
    "RENEW_REFUSED": (0x52, REFUSAL),
    "PATH_REPORT": (0x53, {"attempt": Number(lowest=1), "class": Byte(range(16)), "took": DURATION}),
    "POLICY": (0x54, {"mode": Byte(range(3))}),
    "RULE": (0x55, {"verb": Byte(range(4)), "peers": Many(256, 32)}),
}
NAMES = {number: name for name, (number, _) in FRAMES.items()}
FROM_CLIENTS = {
    *("HELLO", "OPEN", "SHUT", "SENDER_OK", "WATCH", "UNWATCH", "GOAWAY_ACK", "ACTIVE", "MOVED", "RECLAIM"),
    *("RENEW", "PATH_REPORT", "POLICY", "RULE"),
}


@dataclass
class Frame:
    """A frame that came: its name, and its fields by theirs."""

    name: str
    fields: dict[str, Any]

    def __getitem__(self, field: str) -> Any:
        return self.fields[field]


def write_frame(name: str, **values: Any) -> bytes:
    """A whole frame."""
    return enclose(FRAMES[name][0], write_body(name, **values))


def enclose(number: int, body: bytes) -> bytes:
    """Type, length, body."""
    return write_varint(number) + write_varint(len(body)) + body


def fields_of(name: str, values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The fields that a frame has, with their kinds. Whether one is there may hang on the value of one before it."""
    for field, kind in FRAMES[name][1].items():
        if not isinstance(kind, OnlyIf):
            yield field, kind
        elif values[kind.name] == kind.value:
            yield field, kind.field


def write_body(name: str, **values: Any) -> bytes:
    """The fields of a frame."""
    return b"".join(kind.write(values[field]) for field, kind in fields_of(name, values))


def read_body(name: str, data: bytes) -> dict[str, Any]:
    """The fields of a frame, in their order: the first that is wrong decides."""
    body, values = Body(data), {}
    for field, kind in fields_of(name, values):
        values[field] = kind.read(body)
    body.finish()
    return values


class FrameReader:
    """Reads a control stream as it comes, in pieces."""

    def __init__(self, limit: int = BEFORE_WELCOME):
        self.limit = limit
        self.unread = b""

    def read(self, data: bytes) -> Iterator[Frame]:
        """The frames that are whole now, without those that are skipped. FrameError comes behind the last good one."""
        self.unread += data
        while (taken := self._next()) is not None:
            number, body = taken
            if number in NAMES:
                yield Frame(NAMES[number], read_body(NAMES[number], body))

    def _next(self) -> tuple[int, bytes] | None:
        """Type and body of the next frame. The length is judged before the body is there, also of one to skip."""
        try:
            number, start = read_varint(self.unread)
            length, start = read_varint(self.unread, start)
        except Incomplete:
            return None
        if length > self.limit:
            raise FrameError("too_long")
        if number < FIRST_SKIPPED and number not in NAMES:
            raise FrameError("unknown_type")
        if len(self.unread) < start + length:
            return None
        body, self.unread = self.unread[start : start + length], self.unread[start + length :]
        return number, body
