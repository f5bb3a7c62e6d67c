from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from docrag.encode.encoders import Encoders
from docrag.encode.models.bm25 import Bm25Encoder
from docrag.encode.registry import page_encoder, text_encoder
from docrag.encode.vectors.grid import grid_boxes
from docrag.encode.vectors.inked import LEAST, grey, inked, keep_inked
from docrag.index.model_selection import choose_encoders
from docrag.settings import Settings
from docrag.types import PATCHES, POOLED, MultiVector, Page, PageImage
from tests.samples import make_page, picture_page

COLUMNS, ROWS = 8, 10
BOXES = grid_boxes(COLUMNS, ROWS)


def page_with(draw_on: str = "", noise: float = 0.0) -> Page:
    """A white page of 800 x 1000 with letters in the third of ten rows, or something else."""
    image = Image.new("RGB", (800, 1000), "white")
    draw = ImageDraw.Draw(image)
    if draw_on == "text":
        draw.text(
            (20, 225),
            "The ferry leaves the east harbour at dawn, and again at noon " * 2,
            "black",
            font_size=24,
        )
    if draw_on == "hairline":
        draw.line((0, 550, 800, 550), fill=(200, 200, 200))
    if draw_on == "panel":
        draw.rectangle((210, 210, 590, 790), fill="navy")
    pixels = np.asarray(image).astype(float)
    pixels += np.random.default_rng(0).normal(0, noise, pixels.shape) if noise else 0
    content = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(content, "JPEG", quality=85)
    return replace(make_page("words"), image=PageImage(content.getvalue(), 800, 1000))


def vectors(boxes: np.ndarray = BOXES) -> MultiVector:
    rows = np.random.default_rng(1).normal(size=(len(boxes), 4)).astype(np.float32)
    return MultiVector(rows / np.linalg.norm(rows, axis=1, keepdims=True), boxes, summary=rows[0])


def kept_rows(page: Page, boxes: np.ndarray = BOXES) -> set[int]:
    keep = inked(boxes, grey(page.image))
    return set((np.flatnonzero(keep) // COLUMNS).tolist())


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr("docrag.encode.vectors.inked.LEAST", 4)


def test_patches_with_letters_are_kept_and_margins_left_out():
    assert kept_rows(page_with("text")) == {2}


def test_a_light_hairline_is_ink():
    assert kept_rows(page_with("hairline")) == {5}


def test_the_noise_of_a_scan_is_not_ink():
    assert kept_rows(page_with("text", noise=8)) == {2}


def test_of_a_uniform_panel_the_edge_is_kept():
    keep = inked(BOXES, grey(page_with("panel").image)).reshape(ROWS, COLUMNS)
    assert keep[2:8, 2].all()
    assert keep[2, 2:6].all()
    assert not keep[4:6, 3:5].any()
    assert not keep[:2].any()


@pytest.mark.parametrize("least", [4, 16])
def test_a_blank_page_keeps_some(monkeypatch, least: int):
    monkeypatch.setattr("docrag.encode.vectors.inked.LEAST", least)
    assert inked(BOXES, grey(page_with().image)).sum() == least


def test_a_page_of_fewer_patches_than_that_keeps_all(monkeypatch):
    monkeypatch.setattr("docrag.encode.vectors.inked.LEAST", LEAST)
    assert inked(grid_boxes(3, 2), grey(page_with().image)).all()


def test_vectors_that_stand_nowhere_are_kept_in_their_order():
    boxes = BOXES.copy()
    boxes[[0, 40, 79]] = np.nan
    before = vectors(boxes)
    after = keep_inked(before, page_with("text"))
    keep = [0, *range(2 * COLUMNS, 3 * COLUMNS), 40, 79]
    np.testing.assert_array_equal(after.vectors, before.vectors[keep])
    np.testing.assert_array_equal(after.boxes, boxes[keep])
    assert after.summary is before.summary


def test_special_tokens_do_not_count_as_the_last_patches():
    boxes = np.concatenate([np.full((20, 4), np.nan, np.float32), BOXES])
    assert inked(boxes, grey(page_with().image)).sum() == 20 + 4


@pytest.mark.parametrize("boxes", [[0, 0, 0, 0], [1, 1, 1, 1], [0.5, 0.5, 0.4, 0.4], [0.99, 0, 1.01, 2]])
def test_boxes_of_no_size_and_at_the_edge_do_no_harm(boxes: list[float]):
    odd = np.concatenate([BOXES, np.array([boxes], np.float32)])
    keep = inked(odd, grey(page_with("text").image))
    assert len(keep) == len(odd)
    np.testing.assert_array_equal(keep[:-1], inked(BOXES, grey(page_with("text").image)))


def test_without_boxes_or_image_all_is_kept():
    bare = replace(vectors(), boxes=None)
    assert keep_inked(bare, page_with()) is bare
    placed = vectors()
    assert keep_inked(placed, make_page("words")) is placed


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (640, 640), (90, 40)])
def test_images_of_any_size_are_judged(size: tuple[int, int]):
    content = io.BytesIO()
    Image.new("RGB", size).save(content, "JPEG")
    assert inked(BOXES, grey(PageImage(content.getvalue(), *size))).sum() == 4


def test_an_index_stores_and_pools_what_has_ink(checkpoint):
    late = page_encoder(checkpoint("colqwen2"))
    pages = [page_with("text"), picture_page(3)]
    sets = {
        keep: Encoders(late, text_encoder("minilm"), Bm25Encoder(), None, keep).encode_pages(pages, ["", ""])
        for keep in ("all", "inked")
    }
    for page, every, some in zip(pages, sets["all"], sets["inked"], strict=True):
        keep = inked(every.boxes, grey(page.image))
        assert 0 < keep.sum() < len(keep) or page is pages[1]
        np.testing.assert_allclose(some.vectors[PATCHES], every.vectors[PATCHES][keep], atol=1e-5)
        np.testing.assert_array_equal(some.boxes, every.boxes[keep])
        assert len(some.vectors[POOLED]) <= len(every.vectors[POOLED])


def test_the_choice_is_part_of_the_fingerprint_and_remembered(checkpoint, tmp_path):
    from docrag import Index
    from docrag.errors import IndexMismatch

    model = checkpoint("colqwen2")
    with Index.open(tmp_path / "index", late=model, settings=Settings(keep_patches="inked")) as index:
        assert index.status().fingerprint["keep_patches"] == "inked"
    with Index.open(tmp_path / "index") as index:
        assert index.status().fingerprint["keep_patches"] == "inked"
    with pytest.raises(IndexMismatch, match="keep_patches inked, asked for keep_patches all"):
        Index.open(tmp_path / "index", settings=Settings(keep_patches="all"))


def test_words_always_stand_on_ink():
    assert choose_encoders(Settings(keep_patches="inked"), None).keep_patches == "all"
