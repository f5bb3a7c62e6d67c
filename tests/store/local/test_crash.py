"""What is left when the process, or the disk, ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from docrag.errors import IndexInUse, StorageFull
from docrag.store.layout import Layout
from docrag.store.local import engine
from docrag.store.local.store import EdgeStore
from docrag.types import PageRecord

WRITER = """
import os, signal, sys
from pathlib import Path
from docrag.store.layout import Layout
from docrag.store.local.store import EdgeStore
from tests.store.conftest import IMAGE, LATE, TEXT, make_record

store = EdgeStore.create(Path(sys.argv[1]), Layout.for_dims(late=LATE, image=IMAGE, text=TEXT))
for number in range(100_000):
    store.upsert([make_record(number)])
    if number % 10 == 9:
        store.flush()
        sys.stdout.write(f"{number + 1}\\n")
        sys.stdout.flush()
"""


def start_writer(path: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def flushed(writer: subprocess.Popen[str]) -> int:
    assert writer.stdout is not None
    return int(writer.stdout.readline())


@pytest.mark.slow
@pytest.mark.parametrize("flushes", [1, 7])
def test_what_was_flushed_survives_a_kill(tmp_path: Path, layout: Layout, flushes: int):
    with start_writer(tmp_path / "shard") as writer:
        for _ in range(flushes):
            number = flushed(writer)
        time.sleep(0.02)
        writer.kill()
    assert writer.returncode == -signal.SIGKILL
    with EdgeStore.open(tmp_path / "shard", layout) as store:
        found = list(store.scroll())
        assert len(found) >= number
        assert all(record.payload["page_content"] for record in found)
        store.upsert([])
        store.flush()


@pytest.mark.slow
def test_a_second_process_is_told_that_the_index_is_in_use(tmp_path: Path, layout: Layout):
    with start_writer(tmp_path / "shard") as writer:
        flushed(writer)
        for _ in range(5):
            with pytest.raises(IndexInUse, match=f"end process {writer.pid}"):
                EdgeStore.open(tmp_path / "shard", layout)
        # The attempts have not disturbed it: the engine's own lock comes too late for that.
        for _ in range(3):
            assert flushed(writer) > 0
        assert writer.poll() is None
        writer.kill()
    assert writer.returncode == -signal.SIGKILL
    EdgeStore.open(tmp_path / "shard", layout).close()


@pytest.mark.slow
def test_a_kill_while_creating_leaves_something_that_can_be_created(tmp_path: Path, layout: Layout):
    for delay in (0.0, 0.02):
        path = tmp_path / f"shard-{delay}"
        with start_writer(path) as writer:
            while not path.with_name(f".{path.name}.draft").exists() and not path.exists():
                time.sleep(0.001)
            time.sleep(delay)
            writer.kill()
        opener = EdgeStore.open if path.exists() else EdgeStore.create
        with opener(path, layout) as store:
            store.facet("metadata.file_name")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """160 MiB of ext4, which only root can mount; not a tmpfs, where reading a hole in a file takes space."""
    image, disk = tmp_path / "image", tmp_path / "disk"
    disk.mkdir()
    with image.open("wb") as file:
        file.truncate(160 * 2**20)
    try:
        subprocess.run(["mkfs.ext4", "-q", str(image)], check=True, capture_output=True)
        subprocess.run(["mount", "-o", "loop", str(image), str(disk)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"cannot mount a small disk: {error}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
def test_a_disk_that_fills_up_is_an_error_and_not_the_end(small_disk: Path, layout: Layout, record):
    records = [record(number) for number in range(200)]
    with EdgeStore.create(small_disk / "shard", layout) as store:
        ballast = small_disk / "ballast"

        def fill() -> None:
            for size in range(40, 160, 4):
                ballast.write_bytes(bytes(size * 2**20))
                store.upsert(records[size : size + 2])

        with pytest.raises(StorageFull, match="MiB left"):
            fill()
        written = store.count()
        assert written > 0
        store.optimize()
        store.flush()
    with EdgeStore.open(small_disk / "shard", layout) as store:
        assert store.count() == written
        ballast.unlink()
        store.upsert(records)
        assert store.count() == 200


def test_create_needs_space_too(tmp_path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine, "RESERVE", 2**60)
    with pytest.raises(StorageFull, match="needed"):
        EdgeStore.create(tmp_path / "shard", layout)
    assert not (tmp_path / "shard").exists()


def test_nothing_of_a_batch_is_written_where_it_does_not_fit(
    tmp_path: Path, layout: Layout, records: list[PageRecord], monkeypatch: pytest.MonkeyPatch
):
    with EdgeStore.create(tmp_path / "shard", layout) as store:
        monkeypatch.setattr(engine, "RESERVE", 2**60)
        with pytest.raises(StorageFull):
            store.upsert(records)
        assert store.count() == 0
