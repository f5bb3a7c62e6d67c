"""Encoders of other packages: real ones, installed and used as a user would; and all that may be wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from typer.testing import CliRunner

from docrag.cli import app
from docrag.encode.base import EncoderOptions, ImageQueryEncoder
from docrag.encode.plugins import find_plugins
from docrag.encode.registry import list_models, name_of, page_encoder
from docrag.errors import ModelUnavailable
from tests.plugins.install import install, metadata
from tests.samples import picture_page

SOURCES = Path(__file__).parents[1] / "plugins" / "colour_docrag"
OFFERED = {"colour-histogram": "--image", "colour-tiles": "--late"}
PAGES = [picture_page(1), picture_page(2, 500, 200), picture_page(3, 30, 30)]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the colours package in it, as pip leaves it."""
    return install(SOURCES, tmp_path_factory.mktemp("plugin") / "site")


@pytest.fixture
def docrag(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run a command where the package is found, in this process; what it prints as JSON."""
    monkeypatch.setenv("DOCRAG_OCR", "false")

    def run(*arguments: object, there: bool = True, code: int = 0) -> Any:
        with monkeypatch.context() as patch:
            if there:
                patch.syspath_prepend(str(installed))
            done = CliRunner().invoke(app, list(map(str, arguments)))
        assert done.exit_code == code, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()][-1] if code == 0 else done.stderr

    return run


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A red sheet with a green corner at the lower right, and a blue sheet."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    red = Image.new("RGB", (320, 320), (220, 20, 30))
    ImageDraw.Draw(red).rectangle((240, 240, 320, 320), fill=(30, 150, 50))
    red.save(folder / "red.png")
    Image.new("RGB", (320, 320), (30, 60, 200)).save(folder / "blue.png")
    return folder


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put a package with one encoder on the path of this process."""

    def make(name: str, encoder: str, content: str, distribution: str = "strange-docrag") -> None:
        site = tmp_path / distribution
        module = distribution.replace("-", "_") + "_" + tmp_path.name.replace("-", "_")
        about = f"{distribution.replace('-', '_')}-1.dist-info"
        (site / about).mkdir(parents=True)
        (site / f"{module}.py").write_text(content)
        points = {"docrag.encoders": {name: f"{module}:{encoder}"}}
        for path, text in metadata(distribution, "1", points, about).items():
            (site / path).write_text(text)
        monkeypatch.syspath_prepend(str(site))

    return make


@pytest.fixture(params=OFFERED)
def encoder(request: pytest.FixtureRequest, installed: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(installed))
    return page_encoder(request.param, EncoderOptions(device="cpu"))


def test_a_plugin_keeps_the_promises_of_an_encoder(encoder):
    pages, queries = encoder.encode_pages(PAGES), encoder.encode_queries(["red and blue", "?!", ""])
    for encoded in [*pages, *queries]:
        assert encoded.vectors.shape[1] == encoder.spec.dim
        np.testing.assert_allclose(np.linalg.norm(encoded.vectors, axis=1), 1, atol=1e-5)
    for encoded in pages:
        areas = np.prod(encoded.boxes[:, 2:] - encoded.boxes[:, :2], axis=1)
        assert len(encoded.boxes) == len(encoded.vectors)
        np.testing.assert_allclose(areas.sum(), 1, atol=1e-5)
    assert isinstance(encoder, ImageQueryEncoder) == (encoder.spec.kind == "single")


def test_a_plugin_is_found_again_by_its_fingerprint(encoder):
    assert page_encoder(name_of(encoder.spec.fingerprint())).spec == encoder.spec


def test_several_devices_take_a_plugin_too(installed, monkeypatch):
    monkeypatch.syspath_prepend(str(installed))
    replicas = page_encoder("colour-histogram", EncoderOptions(device="cpu,cpu"))
    assert replicas.spec.family == "colour-histogram"


def test_an_installed_package_is_listed(installed, tmp_path):
    """By a process that knows of it by its path alone."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "docrag", "models", "--json"]
    printed = subprocess.run(command, capture_output=True, check=True, env=environment, cwd=tmp_path).stdout
    rows = {row["name"]: row for row in json.loads(printed)["models"]}
    for name, option in OFFERED.items():
        assert rows[name]["option"] == option
        assert rows[name]["dim"] == 11
        assert "unavailable" not in rows[name]


@pytest.mark.slow
def test_an_index_is_filled_and_searched_by_a_single_vector_plugin(docrag, pictures, tmp_path):
    index = tmp_path / "index"
    report = docrag("ingest", pictures, "--image", "colour-histogram", "--index", index, "--json")
    assert report["summary"]["added"] == 2
    for colour in ("red", "blue"):  # the fingerprint names the encoder
        found = docrag("search", f"a {colour} sheet", "--mode", "cosine", "--index", index, "--json")
        assert Path(found["hits"][0]["file"]).name == f"{colour}.png"
    error = docrag("search", "red", "--index", index, there=False, code=1)
    assert "colour-histogram" in error


@pytest.mark.slow
def test_an_index_is_searched_by_a_late_plugin_and_says_where(docrag, pictures, tmp_path):
    index = tmp_path / "index"
    docrag("ingest", pictures, "--late", "colour-tiles", "--index", index, "--json")
    [first, second] = docrag("search", "green", "--mode", "late", "--index", index, "--json")["hits"]
    assert Path(first["file"]).name == "red.png"
    assert first["score"] > second["score"]
    left, top, right, bottom = first["regions"][0]["box"]
    assert (left + right) / 2 > 0.75
    assert (top + bottom) / 2 > 0.75


GOOD = """
from types import SimpleNamespace
class Encoder:
    def __init__(self, options):
        self.spec = SimpleNamespace(family="strange", library="strange", kind="single")
    def encode_pages(self, pages): return []
    def encode_queries(self, texts): return []
"""
WRONG = {
    "no module": ("import no_such_library", "No module named 'no_such_library'"),
    "no attribute": ("", "AttributeError"),
    "no Python": ("def", "SyntaxError"),
    "fails when imported": ("1 / 0", "ZeroDivisionError"),
    "fails when made": ("class Encoder:\n    def __init__(self, options): {}['x']", "KeyError"),
    "takes no options": ("class Encoder: pass", "TypeError"),
    "not an encoder": (
        "class Encoder:\n    def __init__(self, options): pass",
        "has no spec and no encode_pages and no encode_queries",
    ),
    "no queries": (GOOD.replace("encode_queries", "encode_texts"), "has no encode_queries"),
    "another family": (GOOD.replace('"strange"', '"other"', 1), "family 'other'; it must be .* 'strange'"),
    "a library of docrag's": (GOOD.replace('library="strange"', 'library="transformers"'), "'transformers'"),
    "a text encoder": (GOOD.replace("single", "text"), "kind 'text'"),
}


@pytest.mark.parametrize(("content", "why"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_a_plugin_is_told_and_breaks_no_other(package, content, why):
    package("strange", "Encoder", content)
    with pytest.raises(ModelUnavailable, match=why) as caught:
        page_encoder("strange")
    assert "strange-docrag" in caught.value.message
    assert "strange-docrag" in caught.value.hint
    rows = {row["name"]: row for row in list_models()}
    assert rows["strange"]["unavailable"] == str(caught.value)
    assert rows["minilm"]["dim"] == 384


def test_a_right_one_is_made_with_the_options(package):
    package(
        "strange",
        "Encoder",
        GOOD.replace("(self, options):", "(self, options):\n        self.options = options"),
    )
    options = EncoderOptions(device="cpu", resolution=512)
    assert page_encoder("strange", options).options is options


def test_a_plugin_says_itself_what_it_lacks(package):
    package(
        "strange",
        "make",
        "from docrag.errors import ModelUnavailable\n"
        "def make(options): raise ModelUnavailable('no weights', 'set STRANGE_WEIGHTS')",
    )
    with pytest.raises(ModelUnavailable, match=r"^no weights \(set STRANGE_WEIGHTS\)$"):
        page_encoder("strange")


@pytest.mark.parametrize("name", ["minilm", "colqwen2"])
def test_names_of_docrags_own_stay_its_own(package, name):
    package(name, "Encoder", "raise RuntimeError('must not be imported')")
    ours, theirs = [row for row in list_models() if row["name"] == name and row["option"] != "--text"]
    assert "unavailable" not in ours
    assert "strange-docrag cannot take" in theirs["unavailable"]
    if name == "minilm":
        assert page_encoder(name).spec.library != "strange"


def test_two_packages_of_one_name_are_both_refused(package):
    package("strange", "Encoder", GOOD)
    package("strange", "Encoder", GOOD, "stranger-docrag")
    with pytest.raises(ModelUnavailable, match="strange-docrag, stranger-docrag"):
        page_encoder("strange")


def test_finding_plugins_imports_none(package):
    package("strange", "Encoder", "raise RuntimeError('must not be imported')")
    assert find_plugins()["strange"].packages == "strange-docrag"
