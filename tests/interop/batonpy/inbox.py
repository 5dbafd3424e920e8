"""What has come and is not looked at yet."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

from .deadline import PATIENCE, Missing, deadline

Item = TypeVar("Item")


def anything(_item) -> bool:
    return True


class Inbox(Generic[Item]):
    """Whoever waits for something takes the first item that fits; what is not taken stays."""

    def __init__(self, name: str):
        self.name = name
        self.items: list[Item] = []
        self.ended: str | None = None
        self._changed = asyncio.Event()

    def put(self, item: Item) -> None:
        self.items.append(item)
        self._changed.set()

    def end(self, why: str) -> None:
        """Nothing comes any more."""
        self.ended = self.ended or why
        self._changed.set()

    async def take(
        self, what: str, fits: Callable[[Item], bool] = anything, within: float | None = PATIENCE
    ) -> Item:
        """The first item that fits. `what` says in words what is expected."""
        try:
            async with deadline(what, within):
                while (position := self._find(fits)) is None:
                    if self.ended is not None:
                        raise Missing(f"expected {what}, and it ended with {self.ended}")
                    self._changed.clear()
                    await self._changed.wait()
        except Missing as missing:
            missing.args = (f"{self.name}: {missing}; there is {self.items[-10:]}",)
            raise
        return self.items.pop(position)

    async def all(self, fits: Callable[[Item], bool] = anything) -> AsyncIterator[Item]:
        """All that fits, until nothing comes any more."""
        while True:
            try:
                yield await self.take("more", fits, within=None)
            except Missing:
                return

    def _find(self, fits: Callable[[Item], bool]) -> int | None:
        return next((position for position, item in enumerate(self.items) if fits(item)), None)
