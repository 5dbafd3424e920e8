"""Numbers with names: sections 5, 6, 9, 13, 17 and 18."""

from enum import IntEnum, IntFlag

ALPN = "baton/1"
ALPN_INNER = "baton-e2e/1"


class Intent(IntEnum):
    FRESH = 0
    HANDOVER = 1
    RESUME = 2


class Capability(IntFlag):
    STREAMS = 0x04
    RECLAIM = 0x08
    PATHS = 0x10
    POLICIES = 0x20
    POLICY_FIRST = 0x40


class Refusal(IntEnum):
    BAD_SIGNATURE = 1
    TOKEN_REQUIRED = 2
    TOKEN_INVALID = 3
    TOKEN_EXPIRED = 4
    TICKET_INVALID = 5
    DRAINING = 6
    FULL = 7
    INTERNAL = 8
    NOT_ALLOWED = 9
    TOO_SOON = 10


class Retry(IntEnum):
    NEVER = 0
    AFTER = 1
    FRESH = 2


class Notice(IntEnum):
    OFFLINE = 1
    GOING_AWAY = 2
    TOO_MANY = 3


class State(IntEnum):
    OFFLINE = 0
    ONLINE = 1


class Reason(IntEnum):
    ROLLOUT = 0
    SCALE_DOWN = 1
    DISRUPTION = 2
    CLOSING = 3


class Mode(IntEnum):
    GROUP = 0
    LIST = 1
    ANY = 2


class Verb(IntEnum):
    ALLOW = 0
    DISALLOW = 1
    BLOCK = 2
    UNBLOCK = 3


class Limit(IntEnum):
    SESSION_DATAGRAMS = 1
    SESSION_BYTES = 2
    PAIR_DATAGRAMS = 3
    PAIR_BYTES = 4
    RECEIVER_DATAGRAMS = 5
    RECEIVER_BYTES = 6
    ROUTES = 7
    WATCHES = 8


class Outcome(IntEnum):
    """How an attempt to migrate ended: it succeeded, or the class of its failure."""

    SUCCEEDED = 0
    PROBE_TIMEOUT = 1
    VALIDATION_TIMEOUT = 2
    REVERTED = 3
    IDLE_TIMEOUT = 4
    HANDSHAKE_TIMEOUT = 5
    APPLICATION_CLOSE_LOCAL = 6
    APPLICATION_CLOSE_REMOTE = 7
    TRANSPORT_ERROR = 8
    VERSION_NEGOTIATION = 9
    STATELESS_RESET = 10
    REFUSED = 11
    SUPERSEDED = 12
    CANCELLED = 13
    DEADLINE_EXCEEDED = 14
    OTHER = 15


class Close(IntEnum):
    DONE = 0x00
    MOVED = 0x01
    GOAWAY_TIMEOUT = 0x02
    SUPERSEDED = 0x03
    CLOSING = 0x04
    SHUTDOWN = 0x05
    REFUSED = 0x10
    HELLO_TIMEOUT = 0x11
    PROTOCOL_VIOLATION = 0x12
    LIMIT_EXCEEDED = 0x13
    TOKEN_EXPIRED = 0x14
    EVICTED = 0x15
    INTERNAL = 0x20
