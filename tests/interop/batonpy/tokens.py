"""Access tokens of a pool with a shared secret: section 7."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any


def write_token(secret: bytes, claims: dict[str, Any], header: dict[str, Any] | None = None) -> bytes:
    """A JSON Web Token in compact form, made with HS256."""
    signed = base64url(header or {"alg": "HS256", "typ": "JWT"}) + b"." + base64url(claims)
    return signed + b"." + base64url(hmac.digest(secret, signed, hashlib.sha256))


def base64url(value: Any) -> bytes:
    data = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def in_seconds(seconds: float) -> int:
    """A time as claims have it."""
    return int(time.time() + seconds)
