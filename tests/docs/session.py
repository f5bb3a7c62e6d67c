"""One shell session: the blocks of a page are run in it, in the order in which they stand."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from docrag.store.local.process import START_LOCK
from tests.docs.pages import Block

SERVE = "docrag serve"
SERVED_AT = "http://127.0.0.1:8000"
"""Where the pages say that `docrag serve` answers."""


class Session:
    """Runs blocks in a directory; what one block exports is there for the next.

    Args:
        folder: The working directory.
        temporary: Another directory, in which programs keep what they write elsewhere.
        environment: Of every command.
        replaced: Addresses that the pages name, and those that stand in for them.
    """

    def __init__(
        self, folder: Path, temporary: Path, environment: Mapping[str, str], replaced: Mapping[str, str]
    ) -> None:
        self.folder = folder
        self._environment = dict(environment)
        self._replaced = dict(replaced)
        self._temporary = temporary
        self._exported = temporary / "exported"  # keeps the variables from block to block
        self._servers: list[tuple[subprocess.Popen[str], int]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for server, pid in self._servers:
            with server:
                os.kill(pid, signal.SIGTERM)
            assert server.returncode == 0
        self._stop_engines()

    def _stop_engines(self) -> None:
        """End the processes that hold indexes, before the next page finds other indexes at the same paths."""
        for top in (self.folder, self._temporary):
            for folder, _, files in os.walk(top):
                if START_LOCK in files:
                    command = ["docrag", "stop", "--index", folder]
                    subprocess.run(command, env=self._environment, check=True, timeout=60)

    def run(self, block: Block) -> str:
        """Run a block of sh or python; what it printed.

        Raises:
            AssertionError: It failed.
        """
        text = block.text
        for written, here in self._replaced.items():
            text = text.replace(written, here)
        if block.language == "python":
            script = self.folder / "script.py"
            script.write_text(text)
            return self._shell(block, "python script.py")
        *before, last = text.splitlines(keepends=True)
        if not last.startswith(SERVE):
            return self._shell(block, text)
        self._shell(block, "".join(before))
        return self._serve(block, last)

    def _shell(self, block: Block, text: str) -> str:
        script = f"{self._before()}\n{text}\nexport -p > {shlex.quote(str(self._exported))}\n"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        assert done.returncode == 0, f"{block} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _before(self) -> str:
        """What brings back the variables that earlier blocks exported."""
        exported = shlex.quote(str(self._exported))
        return f"[ ! -f {exported} ] || . {exported}"

    def _serve(self, block: Block, text: str) -> str:
        """Start a server in the background; later blocks ask it at the address that it took."""
        command = f"{self._before()}\nexec {text.strip()} --port 0 --json"
        server = subprocess.Popen(
            ["bash", "-euc", command],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdout
        line = server.stdout.readline()
        assert line, f"{block}: the server did not start"
        started = json.loads(line)
        self._servers.append((server, started["pid"]))
        self._replaced[SERVED_AT] = started["url"]
        return line


def matches(expected: str, printed: str) -> bool:
    """Whether a program printed what a page shows; white space counts once, ... stands for anything.

    >>> matches("page 3 (score ...)", "page 3  (score 0.80)"), matches("page 3", "page 4")
    (True, False)
    """
    parts = ("\\s+".join(map(re.escape, part.split())) for part in expected.split("..."))
    return re.search(".*?".join(parts), printed, re.DOTALL) is not None
