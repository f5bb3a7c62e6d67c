"""What the embedded engine keeps of numbers, by the arrays they come in and how they are stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from docrag.errors import IndexMismatch
from docrag.store.layout import Layout
from docrag.store.local.store import EdgeStore
from docrag.store.requests import QueryRequest
from docrag.types import PageRecord
from tests.encode.maxsim import maxsim

Make = Callable[[int], PageRecord]
SHAPES = {
    "as it is": lambda rows: rows,
    "column by column": np.asfortranarray,
    "every other row": lambda rows: np.repeat(rows, 2, axis=0)[::2],
    "backwards": lambda rows: rows[::-1].copy()[::-1],
    "float64": lambda rows: rows.astype(np.float64),
    "float16": lambda rows: rows.astype(np.float16),
    "big-endian": lambda rows: rows.astype(">f4"),
    "read only": lambda rows: np.frombuffer(rows.tobytes(), np.float32).reshape(rows.shape),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_are_kept_whatever_array_they_come_in(tmp_path: Path, layout: Layout, record: Make, shape: str):
    rows = record(3).vectors["patches"]
    given = replace(record(3), vectors={**record(3).vectors, "patches": SHAPES[shape](rows)})
    with EdgeStore.create(tmp_path / "shard", layout) as store:
        store.upsert([given])
        [stored] = store.retrieve([given.id], vectors=["patches", "caption"])
    np.testing.assert_allclose(stored.vectors["patches"], rows, atol=5e-4)
    np.testing.assert_allclose(stored.vectors["caption"], record(3).vectors["caption"], atol=1e-6)


def unit_rows(seed: int, rows: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, 128)).astype(np.float32)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def page(record: Make, number: int) -> PageRecord:
    rows = {"patches": unit_rows(number, 300), "pooled": unit_rows(number, 4)}
    return replace(record(number), vectors={**record(number).vectors, **rows})


@pytest.mark.parametrize(("datatype", "error"), [("float32", 1e-5), ("float16", 2e-3), ("turbo8", 0.02)])
def test_scores_by_datatype(tmp_path: Path, record: Make, datatype: str, error: float):
    pages = [page(record, number) for number in range(20)]
    query = unit_rows(99, 10)
    layout = Layout.for_dims(late=128, image=12, text=8, datatype=datatype)
    with EdgeStore.create(tmp_path / "shard", layout) as store:
        store.upsert(pages)
    with EdgeStore.open(tmp_path / "shard", layout) as store:
        [found] = store.query([QueryRequest(query, "patches", 20)])
    expected = {one.id: maxsim(query, one.vectors["patches"]) for one in pages}
    assert {hit.id for hit in found} == set(expected)
    for hit in found:
        assert hit.score == pytest.approx(expected[hit.id], rel=error)


@pytest.mark.slow
def test_smaller_datatypes_take_less_disk(tmp_path: Path, record: Make):
    taken = []
    for datatype in ("float32", "float16", "turbo8", "turbo4"):
        layout = Layout.for_dims(late=128, image=12, text=8, datatype=datatype)
        with EdgeStore.create(tmp_path / datatype, layout) as store:
            store.upsert([page(record, number) for number in range(200)])
        files = [file for file in (tmp_path / datatype).rglob("*patches*/**/*") if file.is_file()]
        taken.append(sum(file.stat().st_blocks * 512 for file in files))
    assert taken == sorted(taken, reverse=True)
    assert len(set(taken)) == 4


def test_an_index_is_opened_as_it_was_made(tmp_path: Path):
    EdgeStore.create(
        tmp_path / "shard", Layout.for_dims(late=128, image=None, text=8, datatype="turbo8")
    ).close()
    with pytest.raises(IndexMismatch, match="other vectors"):
        EdgeStore.open(tmp_path / "shard", Layout.for_dims(late=128, image=None, text=8))
