"""The command `baton` (docs/cli.md) as the other end of an inner connection."""

import asyncio
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from batonpy.deadline import PATIENCE, deadline
from batonpy.identity import read_peer
from case import RelayCase
from ground import Relay

KEY = "peer.key"
PROFILE = "profile.json"
SERVICES = "services.json"


class CommandCase(RelayCase):
    """A test with a process of the command, which has a key, and a folder of its own."""

    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.peer = read_peer(await self.line(await self.start("key", "new", "--out", KEY)))

    def write_profile(self, relay: Relay) -> None:
        profile = {
            "addresses": [f"{relay.host}:{relay.port}"],
            "serverName": self.ground.pool.server_name,
            "audience": self.ground.audience,
            "ca": Path(self.ground.pool.ca).read_text(encoding="utf-8"),
            "token": self.token().decode(),
        }
        (self.folder / PROFILE).write_text(json.dumps(profile), encoding="utf-8")

    async def run_services(self, relay: Relay, expose: list[dict[str, Any]]) -> asyncio.subprocess.Process:
        """`baton run`, at a relay. YAML has all of JSON."""
        self.write_profile(relay)
        services = {"profile": PROFILE, "key": KEY, "expose": expose}
        (self.folder / SERVICES).write_text(json.dumps(services), encoding="utf-8")
        return await self.start("run", SERVICES)

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        """Runs the command, which is ended with the test. Its errors go to our standard error."""
        process = await asyncio.create_subprocess_exec(
            self.ground.baton,
            *arguments,
            cwd=self.folder,
            env=os.environ | {"XDG_RUNTIME_DIR": str(self.folder), "BATON_LOG": "error"},
            stdout=asyncio.subprocess.PIPE,
        )
        self.addAsyncCleanup(self.stop, process)
        return process

    async def line(self, process: asyncio.subprocess.Process) -> str:
        """The next line that it prints."""
        async with deadline("a line of the command"):
            return (await process.stdout.readline()).decode().strip()

    async def ended(self, process: asyncio.subprocess.Process) -> tuple[int, str]:
        """Its exit code, and what else it printed, when it has ended by itself."""
        async with deadline("the end of the command", 2 * PATIENCE):
            output = await process.stdout.read()
            return await process.wait(), output.decode()

    async def stop(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), PATIENCE)
            except TimeoutError:
                process.kill()
                await process.wait()
