"""Waiting, with a deadline and a message."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

PATIENCE = 5.0  # far above what anything takes on loopback; what comes is taken at once


class Missing(AssertionError):
    """Something that had to come did not."""


class TooLate(Missing):
    """It may still come."""


@asynccontextmanager
async def deadline(what: str, within: float | None = PATIENCE) -> AsyncIterator[None]:
    """Ends what waits for it. `what` says in words what is expected."""
    try:
        async with asyncio.timeout(within):
            yield
    except TimeoutError:
        raise TooLate(f"expected {what}, and waited for {within} s") from None
