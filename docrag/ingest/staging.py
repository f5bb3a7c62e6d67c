"""An index that is built anew inside the folder of the one that it is to replace, and takes its place.

Until the switch is decided, a draft can be thrown away. From then on the draft is what counts: each step of
the switch may be repeated, and whoever comes next after a kill takes the steps that are left.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from docrag.errors import StoreError
from docrag.ingest.manifest import Manifest

FOLDER = ".migration"
MANIFEST = "manifest.sqlite"
IMAGES = "images"

_MARK = "switch.json"
_OLD = "old"
_PARTS = (IMAGES, "points", "fingerprint.json")
"""What is moved, in this order; on a server there are only images."""
_STALE = "search.json"
"""What was tuned was measured with the old vectors, so that it does not hold for the new ones."""


class Staging:
    """The folder of a draft.

    Args:
        home: Folder of the index: manifest, page images, and what else is not on a server.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder = home / FOLDER
        self._mark = self.folder / _MARK
        self._old = self.folder / _OLD

    def decision(self) -> Mapping[str, str] | None:
        """What was told when the switch was decided; None before.

        Raises:
            StoreError: The note is damaged.
        """
        try:
            told = json.loads(self._mark.read_text())
        except (FileNotFoundError, NotADirectoryError):  # the latter where the index is said to be a file
            return None
        except ValueError as error:
            raise StoreError(f"{self._mark} is damaged: {error}", "remove it, and migrate again") from error
        return {str(name): str(value) for name, value in told.items()}

    def require_room(self, keep_in: Path) -> None:
        """Try whether the old index can be moved to where it is to be kept, while the switch can be refused.

        A mounted volume can be written and nothing moved out of it; only trying tells.

        Args:
            keep_in: A folder that is not there yet.

        Raises:
            StoreError: Nothing can be moved there.
        """
        probe, there = self.folder / "probe", keep_in.with_name(f".{keep_in.name}.probe")
        try:
            probe.mkdir(exist_ok=True)
            probe.rename(there)
            there.rmdir()
        except OSError as error:
            raise StoreError(
                f"the old index cannot be kept as {keep_in}: {error.strerror}",
                "all is read again: the same without --keep-old only switches; docrag export keeps a copy",
            ) from error

    def decide(self, told: Mapping[str, str]) -> None:
        """From here on the draft is the index, whoever takes the steps that follow.

        Args:
            told: What those steps need to know.
        """
        for folder in (self._old, self.folder / IMAGES):  # what is not there would pass for moved
            folder.mkdir(exist_ok=True)
        with closing(Manifest(self.home / MANIFEST)) as manifest:
            manifest.copy_to(self._old / MANIFEST)  # while it says what the old index holds
        note = self._mark.with_suffix(".tmp")
        note.write_text(json.dumps(dict(told)))
        note.replace(self._mark)

    def move_in(self) -> None:
        """Let manifest, images and all take the place of the old ones, which are kept aside."""
        new = self.folder / MANIFEST
        if new.exists():
            with closing(Manifest(self.home / MANIFEST)) as manifest:
                manifest.become(new)
            new.unlink()
        for name in _PARTS:
            here, draft, aside = self.home / name, self.folder / name, self._old / name
            if draft.exists():
                if here.exists():
                    here.rename(aside)
                draft.rename(here)
        if (self.home / _STALE).exists():
            (self.home / _STALE).rename(self._old / _STALE)

    def finish(self, keep_in: Path | None) -> None:
        """Remove what is left of the draft, the note of the switch last.

        Args:
            keep_in: Where the old index goes, a folder that is not there yet; None removes it.
        """
        if keep_in and self._old.exists():
            self._old.rename(keep_in)
        self.remove()

    def remove(self) -> None:
        """Throw the draft away."""
        if self.folder.exists():
            for name in sorted(self.folder.iterdir(), key=lambda path: path == self._mark):
                if name.is_dir():
                    shutil.rmtree(name)
                else:
                    name.unlink()
            self.folder.rmdir()
