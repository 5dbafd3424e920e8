"""A planned move to another session: section 11, from ACTIVE on."""

from .frames import Frame
from .session import Session


async def activate(standby: Session) -> Frame:
    """Makes a standby the home. What comes from now on may come there."""
    standby.send("ACTIVE")
    return await standby.frame("ACTIVE_OK")


async def move(old: Session, standby: Session) -> Frame:
    """Makes a standby the home, and tells the old session so. The caller reads both, and closes the old one.

    Tells ACTIVE_OK.
    """
    active = await activate(standby)
    old.send("MOVED", stamp=active["stamp"], relay=standby.welcome["relay"])
    await old.frame("MOVED_OK")
    return active
