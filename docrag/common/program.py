"""What this process runs, in a few words for people who read of it in another one."""

from __future__ import annotations

import sys
from pathlib import Path

_MODULES = {"__main__.py", "-m", "-c", ""}
_MOST_LETTERS = 60


def program_name() -> str:
    """The program and its first argument if that is a command of docrag, such as "docrag ingest".

    Arguments are left out otherwise: they may hold what nobody else should read.
    """
    name = Path(sys.argv[0]).name if sys.argv else ""
    if name in _MODULES:
        name = Path(sys.argv[0]).parent.name if sys.argv and sys.argv[0] not in _MODULES else "python"
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if name == "docrag" and command.isalpha():
        return f"docrag {command}"
    return name[:_MOST_LETTERS] if name != "" else "python"
