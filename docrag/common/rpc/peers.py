"""Where the socket of a folder is, and who is at its other end."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import struct
import sys
from pathlib import Path
from typing import NamedTuple

SOCKET = ".engine.sock"
MAX_PATH_BYTES = 100
"""A path of a Unix socket may have 107 bytes on Linux and 103 on macOS."""


class Peer(NamedTuple):
    """The process at the other end of a Unix socket, as the kernel knows it."""

    pid: int
    uid: int


def socket_paths(folder: Path) -> list[Path]:
    """Where the socket of a folder may be, the best place first.

    That is in the folder itself, unless the path is too long. Some file systems hold no sockets, so the
    other places are directories for such files. There are several, because not all processes of a user need
    have the same environment. A directory that belongs to somebody else is no such place.
    """
    folder = folder.resolve()
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:24]
    paths = [folder / SOCKET]
    paths += [directory / f"{name}.sock" for directory in _runtime_directories() if _may_be_own(directory)]
    return [path for path in paths if len(os.fsencode(path)) <= MAX_PATH_BYTES]


def _runtime_directories() -> list[Path]:
    """Directories of this user's own for sockets, best first."""
    uid = os.geteuid()
    places = [
        (os.environ.get("XDG_RUNTIME_DIR"), "docrag"),
        (f"/run/user/{uid}", "docrag"),
        ("/tmp", f"docrag-{uid}"),  # before $TMPDIR, which not all processes need have
        (os.environ.get("TMPDIR"), f"docrag-{uid}"),
    ]
    usable = [Path(root) / name for root, name in places if root and os.access(root, os.W_OK | os.X_OK)]
    return list(dict.fromkeys(usable))


def _may_be_own(directory: Path) -> bool:
    """Whether a directory belongs to this user, or does not exist yet."""
    try:
        return directory.lstat().st_uid == os.geteuid()
    except OSError:
        return True


def make_private(directory: Path) -> None:
    """Make a directory that only this user can enter.

    Raises:
        OSError: It cannot be made, or it belongs to another user, who could put another socket into it.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    info = directory.lstat()
    if info.st_uid != os.geteuid() or not stat.S_ISDIR(info.st_mode):
        raise PermissionError(f"{directory} belongs to another user")
    if info.st_mode & 0o077:
        directory.chmod(0o700)


def peer_of(connection: socket.socket) -> Peer:
    """The process at the other end.

    Raises:
        OSError: The system cannot tell.
    """
    if sys.platform == "darwin":
        local = 0  # SOL_LOCAL
        pid = struct.unpack("i", connection.getsockopt(local, 2, 4))[0]  # LOCAL_PEERPID
        uid = struct.unpack("=II", connection.getsockopt(local, 1, 8))[1]  # LOCAL_PEERCRED: version, uid
        return Peer(pid, uid)
    size = struct.calcsize("3i")
    pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return Peer(pid, uid)


def is_own(peer: Peer) -> bool:
    """Whether a process belongs to this user, or to the administrator."""
    return peer.uid in (os.geteuid(), 0)
