"""A new index that is built inside the directory of the one that it will replace.

Until the switch is decided, the staged index can be thrown away. From then on it is the one that counts: each
step of the switch can be repeated, and whoever opens the index after a kill takes the steps that are left.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from docrag.common.files import write_atomically
from docrag.errors import StoreError
from docrag.ingest.manifest import Manifest

logger = logging.getLogger(__name__)

FOLDER = ".migration"
MANIFEST = "manifest.sqlite"
IMAGES = "images"

_DECISION = "switch.json"
_OLD = "old"
_MOVED = (IMAGES, "points", "fingerprint.json")
"""What is moved, in this order. An index on a server has only the images."""
_TUNED_PLAN = "search.json"
"""The tuned plan was measured with the old vectors and does not hold for the new ones."""


class Staging:
    """The directory in which a new index is built.

    Args:
        home: The directory of the current index: its manifest, page images, and everything else that is not
            on a server.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder = home / FOLDER
        self._decision_file = self.folder / _DECISION
        self._old = self.folder / _OLD

    def decision(self) -> Mapping[str, str] | None:
        """What was noted when the switch was decided, or None before that.

        Raises:
            StoreError: The note is damaged.
        """
        try:
            note = json.loads(self._decision_file.read_text())
        except (FileNotFoundError, NotADirectoryError):  # the latter if the index path is a file
            return None
        except ValueError as error:
            raise StoreError(
                f"{self._decision_file} is damaged: {error}", "remove it, and migrate again"
            ) from error
        return {str(name): str(value) for name, value in note.items()}

    def require_room(self, keep_in: Path) -> None:
        """Check that the old index can be moved away, while the switch can still be refused.

        It may be possible to write a mounted volume and not to move anything out of it, so this tries.

        Args:
            keep_in: A directory that does not exist yet.

        Raises:
            StoreError: Nothing can be moved there.
        """
        probe = self.folder / "probe"
        target = keep_in.with_name(f".{keep_in.name}.probe")
        try:
            probe.mkdir(exist_ok=True)
            probe.rename(target)
            target.rmdir()
        except OSError as error:
            raise StoreError(
                f"the old index cannot be kept as {keep_in}: {error.strerror}",
                "every file has been read again: run the same without --keep-old, which only switches, "
                "or run docrag export first to keep a copy",
            ) from error

    def decide(self, note: Mapping[str, str]) -> None:
        """Decide the switch. From here on the staged index is the one that counts.

        Args:
            note: What the following steps need to know.
        """
        # The steps below take a directory that is missing here for one that was moved already.
        for folder in (self._old, self.folder / IMAGES):
            folder.mkdir(exist_ok=True)
        with closing(Manifest(self.home / MANIFEST)) as manifest:
            manifest.copy_to(self._old / MANIFEST)
        write_atomically(self._decision_file, json.dumps(dict(note)))
        logger.info("the index staged in %s takes over", self.folder)

    def move_in(self) -> None:
        """Move the staged manifest, images and points to their final place; the old ones are put aside."""
        staged_manifest = self.folder / MANIFEST
        if staged_manifest.exists():
            with closing(Manifest(self.home / MANIFEST)) as manifest:
                manifest.replace_by(staged_manifest)
            staged_manifest.unlink()
        for name in _MOVED:
            current = self.home / name
            staged = self.folder / name
            if staged.exists():
                if current.exists():
                    current.rename(self._old / name)
                staged.rename(current)
        if (self.home / _TUNED_PLAN).exists():
            (self.home / _TUNED_PLAN).rename(self._old / _TUNED_PLAN)

    def finish(self, keep_in: Path | None) -> None:
        """Remove what is left of the staging directory; the note of the decision goes last.

        Args:
            keep_in: Where to keep the old index: a directory that does not exist yet. None removes it.
        """
        if keep_in and self._old.exists():
            self._old.rename(keep_in)
        self.remove()

    def remove(self) -> None:
        """Throw the staged index away."""
        if not self.folder.exists():
            return
        for path in sorted(self.folder.iterdir(), key=lambda path: path == self._decision_file):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        self.folder.rmdir()
