"""Where the real documents and questions lie."""

from __future__ import annotations

import sys
from pathlib import Path

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def data(*parts: str) -> Path:
    """A place among the real data; ends the program where it is absent."""
    path = DATA.joinpath(*parts)
    if not path.exists():
        sys.exit(f"no real data at {path}: this benchmark reads ../shared/data beside the repository")
    return path
