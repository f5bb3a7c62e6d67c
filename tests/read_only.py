"""Folders that this process cannot write, although tests often run as root, who may write everywhere."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted_read_only(folder: Path, mount_point: Path) -> Iterator[Path]:
    """Mount a folder a second time, read-only; the test is skipped where mounting is not allowed."""
    mount_point.mkdir()
    try:
        _run("mount", "--bind", str(folder), str(mount_point))
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"cannot mount: {error}")
    try:
        _run("mount", "-o", "remount,bind,ro", str(mount_point))
        yield mount_point
    finally:
        _run("umount", str(mount_point))


@contextmanager
def without_write_permission(folder: Path) -> Iterator[Path]:
    """Take the permission to write a folder and all that it holds from everybody."""
    modes = {path: path.stat().st_mode for path in [folder, *folder.rglob("*")]}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222 | 0o444)
    try:
        yield folder
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A temporary folder that other users can read; those of pytest are closed to them."""
    with tempfile.TemporaryDirectory(prefix="docrag-public-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


BECOME_NOBODY = """
import os
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
"""
"""Python source: a process of root, whom permissions do not concern, becomes one of the user nobody."""


def content_of(folder: Path) -> dict[str, tuple[str, int]]:
    """The digest and the modification time in nanoseconds of every file and folder, hidden ones too."""
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder",
            path.stat().st_mtime_ns,
        )
        for path in [folder, *folder.rglob("*")]
    }


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
