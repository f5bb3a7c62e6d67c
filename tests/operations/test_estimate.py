"""The estimate against an index that is really built."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from docrag import Settings
from docrag.demo import documents
from docrag.errors import NotFound, SettingsError, UnknownModel
from docrag.operations.estimate import (
    GRID,
    INKED,
    MINILM,
    Estimate,
    PageShape,
    count_pages,
    dims_of,
    estimate,
    shape_of,
)
from docrag.store.layout import Layout
from docrag.store.local.store import EdgeStore
from docrag.store.payload import page_payload
from docrag.store.server.wire import JsonWire
from docrag.types import Datatype, PageRecord, SparseVector
from tests.samples import FERRY, make_page, write_pdf
from tests.store.conftest import unit

SHAPES = {
    "grid": replace(GRID, vectors=500),
    "words": replace(MINILM, vectors=150),
}


def built(folder: Path, pages: int, shape: PageShape, datatype: Datatype) -> dict[str, int]:
    """Bytes on disk of an index of such pages, by what takes them."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghij"), 7)) for _ in range(2000)]
    layout = Layout.for_dims(late=shape.dim, image=None, text=384, datatype=datatype)
    with EdgeStore.create(folder / "points", layout) as store:
        for start in range(0, pages, 8):
            numbers = range(start, start + 8)
            store.upsert([synthetic(number, shape, rng, words) for number in numbers])
        store.optimize()
    found: dict[str, int] = {}
    for file in (folder / "points").rglob("*"):
        part = next(
            (name for name in file.parts if name.startswith("vector_storage-") or name == "wal"), "rest"
        )
        found[part] = found.get(part, 0) + (file.stat().st_blocks * 512 if file.is_file() else 0)
    return found


def synthetic(number: int, shape: PageShape, rng: np.random.Generator, words: list[str]) -> PageRecord:
    text = "\n".join(" ".join(rng.choice(words, 12)) for _ in range(30))
    page = make_page(text, number=number % 50 + 1, document_id=f"{number // 50:064x}")
    pooled = min(shape.vectors, 38)
    boxes = np.sort(rng.uniform(0, 1, (shape.vectors, 4)).astype(np.float32))
    terms = rng.choice(20_000, 115, replace=False)
    vectors = {
        "patches": unit(rng, shape.vectors, shape.dim),
        "pooled": unit(rng, pooled, shape.dim),
        "caption": unit(rng, 384),
        "bm25": SparseVector(tuple(map(int, terms)), (1.5,) * len(terms)),
    }
    address = f"http://127.0.0.1:8000/pages/{page.document.id}/{page.number}.jpg"
    return PageRecord(page.id, vectors, page_payload(page, "A caption", boxes, address))


def without_images(found: Estimate) -> int:
    return sum(size for name, size in found.disk.items() if name != "page images")


@pytest.mark.slow
@pytest.mark.parametrize("datatype", ["float16", "turbo8"])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_index_takes_what_was_estimated(tmp_path: Path, shape: str, datatype: Datatype):
    pages = 200
    found = built(tmp_path, pages, SHAPES[shape], datatype)
    told = estimate(pages, SHAPES[shape], datatype=datatype)
    log = found.pop("wal")
    assert found["vector_storage-patches"] == pytest.approx(told.disk["patches"], rel=0.05), found
    assert sum(found.values()) == pytest.approx(without_images(told) - told.disk["log"], rel=0.05), found
    assert sum(found.values()) + log == pytest.approx(without_images(told), rel=0.15), (found, log)


def test_what_a_page_of_colpali_takes():
    told = estimate(1000, replace(GRID, vectors=1030))
    assert told.disk["patches"] == 1000 * 1030 * 128 * 2
    assert 270e6 < told.disk["patches"] + told.disk["pooled"] < 290e6
    assert told.pages_per_request == {"REST": 7, "gRPC": 14}
    assert all(limit.ok for limit in told.limits)


def test_half_of_it_with_inked_patches_and_with_turbo8():
    whole = estimate(1000, GRID).disk["patches"]
    assert estimate(1000, GRID, datatype="turbo8").disk["patches"] == pytest.approx(whole / 2, rel=0.04)
    inked = shape_of(Settings(late="colpali-hf", keep_patches="inked"))
    assert inked.vectors == pytest.approx(INKED * 1030, rel=0.01)
    assert "inked" in inked.source


def test_a_request_holds_as_many_pages_as_it_says():
    rng = np.random.default_rng(0)
    record = synthetic(0, replace(GRID, vectors=1030), rng, ["word"] * 10)
    size = JsonWire(None).pack(record).size
    told = estimate(1, replace(GRID, vectors=1030)).pages_per_request["REST"]
    assert told == (8 * 2**20) // size


def test_a_page_too_large_for_qdrant_is_told():
    told = estimate(10, PageShape("huge", 9000, 128, "image", ""))
    [over] = [limit for limit in told.limits if not limit.ok]
    assert over.name == "floats a page"
    advised = int(over.advice.split("--max-patches ")[1].split(",")[0])
    assert estimate(10, PageShape("huge", advised + 6, 128, "image", "")).limits[0].ok
    assert not estimate(10, PageShape("huge", advised + 8, 128, "image", "")).limits[0].ok


def test_searches_become_too_slow_for_one_process():
    assert estimate(1000, GRID).limits[-1].ok
    large = estimate(1_000_000, GRID).limits[-1]
    assert not large.ok
    assert "server" in large.advice


def test_more_signals_and_poolings_take_more():
    plain = estimate(1000, GRID)
    assert estimate(1000, GRID, image_dim=512).disk["image"] == 1000 * 512 * 4
    assert "image" not in plain.disk
    assert estimate(1000, GRID, pooling="rows+columns").memory["pooled"] > 1.8 * plain.memory["pooled"]
    assert estimate(0, GRID).search_ms == 0


@pytest.mark.parametrize(
    ("settings", "vectors", "dim"),
    [
        (Settings(), 380, 384),
        (Settings(late="minilm", keep_patches="inked"), 380, 384),
        (Settings(late="colqwen2"), 755, 128),
        (Settings(late="colqwen2", max_patches=256), 262, 128),
        (Settings(late="colqwen2", max_patches=5000), 755, 128),
        (Settings(late="colqwen3"), 1030, 320),
    ],
)
def test_the_shape_of_a_page_follows_from_the_model(settings: Settings, vectors: int, dim: int):
    shape = shape_of(settings)
    assert (shape.vectors, shape.dim) == (vectors, dim)


def test_a_checkpoint_tells_its_dimensions(checkpoint):
    shape = shape_of(Settings(late=checkpoint("colqwen2"), max_patches=64))
    assert (shape.vectors, shape.needs) == (70, "image")
    with pytest.raises(SettingsError, match="cannot be used for --late"):
        shape_of(Settings(late="clip-vit-b-32"))
    with pytest.raises(UnknownModel):
        shape_of(Settings(late="nonsense"))


def test_other_encoders_tell_theirs():
    assert dims_of(Settings()) == (0, 384)
    assert dims_of(Settings(image="clip-vit-l-14", text="bge-m3")) == (768, 1024)
    assert dims_of(Settings(text="minilm")) == (0, 384)


def test_pages_are_counted_without_reading_them(tmp_path: Path):
    write_pdf(tmp_path / "two.pdf", FERRY, FERRY)
    (tmp_path / "broken.pdf").write_bytes(b"no PDF at all")
    pages, [refused] = count_pages([tmp_path])
    assert pages == 2
    assert "broken.pdf" in refused
    assert count_pages([documents()])[1] == []
    with pytest.raises(NotFound):
        count_pages([tmp_path / "none"])
