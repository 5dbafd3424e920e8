"""Who a client is: section 3."""

import base64
import hashlib
import os

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class Identity:
    """A key and the instance of a process. Without arguments both are new."""

    def __init__(self, key: Ed25519PrivateKey | None = None):
        self.key = key or Ed25519PrivateKey.generate()
        self.peer = self.key.public_key().public_bytes_raw()
        self.instance = os.urandom(16)

    @property
    def text(self) -> str:
        return peer_text(self.peer)

    def in_another_process(self) -> "Identity":
        return Identity(self.key)


def peer_text(peer: bytes) -> str:
    """52 letters of lower-case base32, without padding."""
    return base64.b32encode(peer).decode().lower().rstrip("=")


def read_peer(text: str) -> bytes:
    """The peer of a text, which may have upper case. ValueError for any other spelling."""
    peer = base64.b32decode(text.upper() + "====")
    if peer_text(peer) != text.lower():
        raise ValueError(f"'{text}' is no peer id")
    return peer


def relay_id(name: str) -> bytes:
    """The id of a relay from the UID of its pod, or from its name."""
    return hashlib.sha256(name.encode()).digest()[:4]
