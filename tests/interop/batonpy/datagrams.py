"""What a datagram begins with: section 9."""

from dataclasses import dataclass
from typing import Any

from .fields import ALIAS, Body, FrameError
from .varint import write_varint

PADDED = 1_150  # section 13: the size of an answer to ECHO, and of PATH_CONFIRM

FORMS: dict[int, tuple[str, dict[str, int]]] = {
    0: ("long", {"sender": 16}),
    1: ("echo", {"nonce": 8}),
    2: ("echo_reply", {"nonce": 8}),
    3: ("path_confirm", {"attempt": 8, "nonce": 8}),
    4: ("path_confirmed", {"attempt": 8}),
}
WITH_PAYLOAD = ("long", "aliased")


@dataclass
class Datagram:
    """A datagram that came. `carrier` tells how: by a `datagram` of QUIC, or by a `stream` of its own."""

    form: str
    fields: dict[str, Any]
    carrier: str = "datagram"

    def __getitem__(self, field: str) -> Any:
        return self.fields[field]


def read_datagram(data: bytes, carrier: str = "datagram") -> Datagram:
    """What it means. FrameError `short` or `reserved` means that it is dropped. What follows a nonce is ignored."""
    body = Body(data)
    first = body.varint()
    if first in FORMS:
        form, lengths = FORMS[first]
        fields = {name: body.take(length) for name, length in lengths.items()}
    elif ALIAS.lowest <= first <= ALIAS.highest:
        form, fields = "aliased", {"alias": first}
    else:
        raise FrameError("reserved")
    if form in WITH_PAYLOAD:
        fields["payload"] = data[body.position :]
    return Datagram(form, fields, carrier)


def write_datagram(form: str, length: int = 0, **fields: Any) -> bytes:
    """A datagram, with zeros behind it up to a length."""
    if form == "aliased":
        return write_varint(fields["alias"]) + fields["payload"]
    first, lengths = next((first, lengths) for first, (name, lengths) in FORMS.items() if name == form)
    data = write_varint(first) + b"".join(fields[name] for name in lengths) + fields.get("payload", b"")
    return data.ljust(length, b"\0")
