"""The command line with models that see images: tiny and random, so nothing here tests their ranking."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from docrag.demo import QUESTIONS, documents
from tests.samples import make_image
from tests.servers import Answer, ModelServer, Request


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    """Five images, as files."""
    folder = tmp_path_factory.mktemp("photographs")
    for seed in range(5):
        make_image(seed, 160, 120).save(folder / f"{seed}.png")
    return folder


@pytest.mark.slow
def test_late_interaction_of_page_images(docrag, checkpoint, tmp_path):
    index, pdfs = ("--index", tmp_path / "index"), documents() / QUESTIONS[0].file
    model = checkpoint("colqwen2")
    outcome = docrag("ingest", pdfs, *index, "--late", model, "--max-patches", 16, "--json")
    assert outcome.code == 0, outcome.err
    pages = outcome.lines[-1]["summary"]["pages"]
    assert pages > 0
    found = docrag("search", "What was the total?", *index, "--mode", "late", "-k", 3, "--open", "--json")
    [answer] = found.lines
    assert len(answer["hits"]) == 3
    for hit in answer["hits"]:
        assert set(hit["scores"]) == {"late"}
        assert hit["regions"]
        assert all(0 <= side <= 1 for region in hit["regions"] for side in region["box"])
    assert Path(answer["marked"]).is_file()
    stored = json.loads(docrag("status", *index, "--json").out)["fingerprint"]["late"]
    assert (stored["library"], stored["family"], stored["max_patches"]) == ("colpali-engine", "colqwen2", 16)
    refused = docrag("ingest", pdfs, *index, "--late", "minilm")
    assert refused.code == 1
    assert "colqwen2" in refused.err
    assert "minilm" in refused.err


@pytest.mark.slow
def test_an_image_finds_itself_by_its_patches(docrag, checkpoint, photographs, tmp_path):
    index = ("--index", tmp_path / "index")
    assert docrag("ingest", photographs, *index, "--late", checkpoint("colqwen2")).code == 0
    for mode in ("late", "hybrid"):
        found = docrag("search", *index, "--image", photographs / "3.png", "--mode", mode, "--json")
        best = found.lines[0]["hits"][0]
        assert Path(best["file"]).name == "3.png"
        assert best["regions"][0]["text"] == ""


@pytest.mark.slow
def test_clip_finds_the_same_image_and_labels_it(docrag, checkpoint, photographs, tmp_path):
    index = ("--index", tmp_path / "index")
    assert docrag("ingest", photographs, *index, "--image", checkpoint("clip")).code == 0
    for image in photographs.glob("*.png"):
        found = docrag("search", *index, "--image", image, "--mode", "cosine", "--json").lines[0]
        assert Path(found["hits"][0]["file"]).name == image.name
        assert found["hits"][0]["scores"]["cosine"] == pytest.approx(1, abs=0.02)
    both = docrag("search", "a red box", *index, "--image", photographs / "1.png", "--json").lines[0]
    assert both["hits"]
    of_index = docrag("label", "--labels", "red, green ,blue", *index, "--json").lines
    of_files = docrag("label", photographs, "--labels", "red,green,blue", *index, "--json").lines
    assert len(of_index) == len(of_files) == 5
    for one, other in zip(of_index, sorted(of_files, key=lambda row: row["file"]), strict=True):
        assert set(one["labels"]) == {"red", "green", "blue"}
        assert sum(one["labels"].values()) == pytest.approx(1, abs=1e-4)
        assert one["labels"] == pytest.approx(other["labels"], abs=0.02)


@pytest.mark.slow
def test_voyage_sees_pages_behind_an_address(docrag, photographs, tmp_path, monkeypatch):
    def embed(request: Request) -> Answer:
        assert request.headers["authorization"] == "Bearer secret-key"
        contents = [json.dumps(one["content"]) for one in request.body["inputs"]]
        seeds = [int(hashlib.sha256(content.encode()).hexdigest()[:8], 16) for content in contents]
        rows = [np.random.default_rng(seed).standard_normal(1024).tolist() for seed in seeds]
        return Answer(body={"data": [{"embedding": row, "index": i} for i, row in enumerate(rows)]})

    busy = Answer(429, {"detail": "slow down"}, {"Retry-After": "0"})
    with ModelServer(embed, [busy, busy]) as server:
        monkeypatch.setenv("VOYAGE_API_KEY", "secret-key")
        monkeypatch.setenv("VOYAGE_BASE_URL", server.url)
        index = ("--index", tmp_path / "index")
        outcome = docrag("ingest", photographs, *index, "--image", "voyage-multimodal-3", "--json")
        assert (outcome.code, outcome.lines[-1]["summary"]["pages"]) == (0, 5)
        assert {request.body["input_type"] for request in server.requests} == {"document"}
        found = docrag("search", "a red box", *index, "--mode", "cosine", "--json").lines[0]
        assert len(found["hits"]) == 5
        assert server.requests[-1].body["input_type"] == "query"


@pytest.mark.slow
def test_real_photographs_find_themselves(docrag, checkpoint, shared, tmp_path, monkeypatch):
    monkeypatch.setenv("DOCRAG_OCR", "false")
    folder = shared / "images_skimage" / "images"
    index = ("--index", tmp_path / "index")
    assert docrag("ingest", folder, *index, "--image", checkpoint("clip")).code == 0
    images = sorted(path for path in folder.iterdir() if path.suffix in (".png", ".jpg"))
    for image in images:
        found = docrag("search", *index, "--image", image, "--mode", "cosine", "-k", 1, "--json").lines[0]
        assert Path(found["hits"][0]["file"]).name == image.name


def test_an_index_of_words_says_that_it_cannot_be_asked_with_images(docrag, demo_uri, photographs):
    refused = docrag("search", "--index", demo_uri, "--image", photographs / "1.png")
    assert refused.code == 2
    assert "--image" in refused.err


def test_labels_need_an_image_encoder(docrag, demo_uri, photographs, tmp_path):
    for arguments in (("--index", demo_uri), (photographs, "--index", tmp_path / "none")):
        refused = docrag("label", "--labels", "a,b", *arguments)
        assert refused.code == 2
        assert "--image clip-vit-b-32" in refused.err


@pytest.mark.slow
def test_files_that_cannot_be_read_are_named_and_the_others_are_labelled(
    docrag, checkpoint, photographs, tmp_path
):
    broken = tmp_path / "broken.pdf"
    broken.write_text("not a PDF")
    arguments = ("--labels", "a,b", "--image", checkpoint("clip"), "--index", tmp_path / "none", "--json")
    outcome = docrag("label", broken, photographs, *arguments)
    assert outcome.code == 3
    assert len(outcome.lines) == 5
    assert "broken.pdf" in outcome.err


def test_models_says_which_library_and_why(docrag, checkpoint):
    rows = docrag("models", "--json").lines[0]["models"]
    by_option = {(row["name"], row.get("option")): row for row in rows}
    assert by_option["colqwen2", "--late"]["library"] == "colpali-engine"
    assert "ColPali's authors" in by_option["colqwen2", "--late"]["why"]
    assert by_option["minilm", "--text"]["library"] == by_option["minilm", "--late"]["library"] == "docrag"
    [row] = docrag("models", checkpoint("colqwen2-hf"), "--json").lines[0]["models"]
    assert (row["library"], row["option"]) == ("sentence-transformers", "--late")
    assert "transformers' own" in row["why"]
    assert docrag("models", "no/such/model").code == 2


def test_an_image_beside_words_is_refused_where_nothing_sees_it(docrag, demo_uri, photographs):
    refused = docrag("search", "ferry", "--index", demo_uri, "--image", photographs / "1.png")
    assert refused.code == 2
    assert "takes an image" in refused.err


@pytest.mark.slow
def test_images_of_every_kind_find_themselves(docrag, checkpoint, tmp_path):
    """16-bit grey and transparency must be converted the same way for a page as for a query."""
    folder = tmp_path / "odd"
    folder.mkdir()
    Image.new("RGB", (80, 60), "white").save(folder / "white.png")
    Image.new("RGB", (80, 60), "black").save(folder / "black.png")
    grey = np.tile(np.arange(80, dtype=np.uint16) * 800 + 300, (60, 1))
    Image.fromarray(grey).save(folder / "grey16.png")
    logo = Image.new("RGBA", (80, 60), (0, 0, 0, 0))
    logo.paste((0, 0, 0, 255), (10, 10, 30, 50))
    logo.save(folder / "logo.png")
    index = ("--index", tmp_path / "index")
    assert docrag("ingest", folder, *index, "--image", checkpoint("clip")).code == 0
    for name in ("grey16.png", "logo.png", "white.png"):
        found = docrag("search", *index, "--image", folder / name, "--mode", "cosine", "--json").lines[0]
        assert Path(found["hits"][0]["file"]).name == name


@pytest.mark.slow
def test_labels_may_be_halves_of_letters(docrag, checkpoint, photographs, tmp_path):
    index = ("--index", tmp_path / "none", "--image", checkpoint("clip"))
    outcome = docrag("label", photographs, "--labels", "a\udce9,b", *index, "--json")
    assert outcome.code == 0
    assert "a?" in outcome.lines[0]["labels"]
