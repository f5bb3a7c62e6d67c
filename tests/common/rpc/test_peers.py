"""Where sockets are looked for and made."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from docrag.common.rpc import peers
from docrag.common.rpc.peers import MAX_PATH_BYTES, SOCKET, make_private, socket_paths


def test_the_best_place_is_the_folder_itself(tmp_path: Path):
    assert socket_paths(tmp_path)[0] == tmp_path / SOCKET


def test_no_place_is_too_long_for_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    deep = tmp_path / ("deep" * 30)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    monkeypatch.setenv("TMPDIR", str(deep))
    places = socket_paths(deep / "index")
    assert places
    assert all(len(os.fsencode(place)) <= MAX_PATH_BYTES for place in places)


def test_without_a_directory_for_temporary_files_there_is_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert socket_paths(tmp_path) == [tmp_path / SOCKET]


def test_all_processes_of_a_user_look_in_the_same_place_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    before = socket_paths(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert socket_paths(tmp_path)[: len(before)] == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only the administrator gives files away")
def test_a_directory_of_another_user_is_no_place(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
):
    runtime = tmp_path_factory.getbasetemp() / "run"  # short enough for a socket in it
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    directory = runtime / "docrag"
    make_private(directory)
    assert directory in [place.parent for place in socket_paths(tmp_path / "index")]
    os.chown(directory, 12345, -1)
    assert directory not in [place.parent for place in socket_paths(tmp_path / "index")]
    with pytest.raises(PermissionError, match="another user"):
        make_private(directory)


def test_who_acts_for_another_user_is_that_user(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    assert peers.is_own(peers.Peer(1, 4242))
    assert not peers.is_own(peers.Peer(1, os.getuid() or 7))


def test_a_socket_can_be_made_in_each_place(tmp_path: Path):
    for place in socket_paths(tmp_path):
        make_private(place.parent) if place.parent != tmp_path else None
        place.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(place))
        place.unlink()
