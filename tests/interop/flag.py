"""The shutdown flag of a relay: docs/drain-contract.md."""

import asyncio
import json
import uuid

from batonpy.deadline import deadline
from batonpy.numbers import Intent
from case import RelayCase
from ground import Relay

GRACE_SECONDS = 60


class DrainCase(RelayCase):
    """A test with a relay that drains."""

    def drain(self, relay: Relay, reason: str = "rollout") -> None:
        """Sets the flag. At the end of the test it is taken back, and the relay takes sessions again."""
        self.addAsyncCleanup(self.withdraw, relay)
        flag = {"id": str(uuid.uuid4()), "graceSeconds": GRACE_SECONDS, "reason": reason}
        replace(relay, json.dumps(flag))

    async def withdraw(self, relay: Relay) -> None:
        """Takes the flag back, and waits until the relay takes sessions again."""
        replace(relay, "")
        async with deadline("sessions are taken again, because the flag was withdrawn"):
            while not await self.is_open(relay):
                await asyncio.sleep(0.1)

    async def is_open(self, relay: Relay) -> bool:
        try:
            session = await self.dial(relay)
        except ConnectionError:
            return False
        session.say_hello(Intent.FRESH, self.token())
        await self.welcomed(session)
        return True


def replace(relay: Relay, flag: str) -> None:
    """Writes the file at once, so that the relay never sees half of it."""
    beside = relay.drain.with_name("drain.new")
    beside.write_text(flag, encoding="utf-8")
    beside.rename(relay.drain)
