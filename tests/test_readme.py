"""Every command and code block of the README works as written."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from docrag.demo import QUESTIONS, documents
from docrag.settings import load_settings
from tests.samples import make_image
from tests.servers import Answer, ModelServer
from tests.store.fake_qdrant import FakeQdrant

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
COMMIT = "0123456789abcdef0123456789abcdef01234567"
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for name, text in BLOCKS if name == language]


HUB = {
    "vidore/colqwen2-v1.0": "colqwen2",
    "openai/clip-vit-base-patch32": "clip",
}
"""What stands in for checkpoints that the README names: the real code runs on tiny random weights."""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, checkpoint: Callable[[str], str]) -> Path:
    """A cache of the model hub that holds the checkpoints of the README."""
    root = tmp_path_factory.mktemp("hub")
    image, text = checkpoint("clip-multilingual").split("+")
    pair = {"clip-ViT-B-32": image, "clip-ViT-B-32-multilingual-v1": text}
    held = {model: checkpoint(family) for model, family in HUB.items()}
    for model, path in (
        held | {f"sentence-transformers/{name}": path for name, path in pair.items()}
    ).items():
        repository = root / f"models--{model.replace('/', '--')}"
        shutil.copytree(path, repository / "snapshots" / COMMIT)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(COMMIT)
    return root


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the README takes for granted: PDFs in docs/, a photograph, questions and judgements."""
    root = tmp_path_factory.mktemp("readme")
    shutil.copytree(documents(), root / "docs")
    make_image(1).save(root / "photo.png")
    rows = [{"_id": str(i), "text": question.text} for i, question in enumerate(QUESTIONS)]
    (root / "queries.jsonl").write_text("\n".join(map(json.dumps, rows)))
    lines = [f"{i}\t{question.file}#{question.page}\t1" for i, question in enumerate(QUESTIONS)]
    (root / "qrels.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]))
    return root


@pytest.fixture(scope="module")
def environment(workplace: Path, hub: Path) -> Iterator[dict[str, str]]:
    """For commands there: the hub's cache, no network, and a model that captions."""
    said = {"role": "assistant", "content": "A page."}
    completion = {"id": "1", "object": "chat.completion", "created": 1, "model": "any"}
    choices = [{"index": 0, "finish_reason": "stop", "message": said}]
    answer = Answer(body=completion | {"choices": choices}, headers={"Content-Type": "application/json"})
    with ModelServer(lambda request: answer) as server:
        yield {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "DOCRAG_INDEX": "my-index",
            "HF_HUB_CACHE": str(hub),
            "HF_HUB_OFFLINE": "1",
            "CAPTION_URL": server.url,
            "DOCRAG_FILES": str(workplace / "files"),
            "OPENAI_API_KEY": "none",
            "OPENAI_BASE_URL": server.url,
            "HAYSTACK_TELEMETRY_ENABLED": "False",
            "XDG_DATA_HOME": str(workplace / "data"),
        }


@pytest.fixture(scope="module")
def run(workplace: Path, environment: dict[str, str]) -> Iterator[Callable[[list[str]], str]]:
    """Runs a command there, with a Qdrant server in place of the one that the README names."""
    with FakeQdrant() as qdrant:

        def run_there(command: list[str]) -> str:
            there = [part.replace("http://localhost:6333/reports", qdrant.uri) for part in command]
            done = subprocess.run(
                there, cwd=workplace, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        run_there(["docrag", "ingest", "docs"])  # so that each test works by itself, in any order
        yield run_there


def test_ci_runs_the_two_commands_that_install():
    script = (ROOT / ".ci" / "run").read_text()
    assert "docrag demo" in blocks("sh")[0]
    assert blocks("sh")[1].strip() == "make test"
    assert "readme_block 1" in script
    assert "readme_block 2" in script


COMMANDS = [
    block for block in blocks("sh")[2:] if not block.startswith(("pip install", "docrag serve", "curl"))
]
PRINTED = {
    "from docrag import Index\n\nwith": f"{QUESTIONS[1].file} {QUESTIONS[1].page} ",
    "from PIL import Image": "(3, ",
    "from langchain_core": "A page.",
    "from docrag import Index\nfrom langchain": "A page.",
    "from langchain_docrag import DocragVectorStore": "tide {'by': 'Ada'}",
    "from llama_index": f"{QUESTIONS[1].file} {QUESTIONS[1].page} ",
    "from haystack": f"{QUESTIONS[1].file} {QUESTIONS[1].page}",
}
"""How each block of Python begins, and a text that it prints."""


@pytest.mark.slow
def test_commands(run: Callable[[list[str]], str]):
    """In their order: one exports what another has ingested."""
    for block in COMMANDS:
        run(["bash", "-euc", block])


@pytest.mark.slow
@pytest.mark.parametrize(("begins", "printed"), PRINTED.items())
def test_python(run: Callable[[list[str]], str], workplace: Path, begins: str, printed: str):
    [block] = [text for text in blocks("python") if text.startswith(begins)]
    (workplace / "script.py").write_text(block)
    assert printed in run([sys.executable, "script.py"])


@pytest.mark.slow
def test_serve(run: Callable[[list[str]], str], environment: dict[str, str], workplace: Path):
    [serve] = [block for block in blocks("sh") if block.startswith("docrag serve")]
    [asked] = [block for block in blocks("sh") if block.startswith("curl")]
    command = [*serve.split(), "--port", "0", "--json"]
    with subprocess.Popen(
        command, cwd=workplace, env=environment, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout
            url = json.loads(server.stdout.readline())["url"]
            told = run(
                ["bash", "-euc", asked.replace("http://127.0.0.1:8000", url).replace("\n", "; echo\n")]
            )
        finally:
            server.terminate()
    search, job, documents = told.splitlines()
    assert json.loads(search)["hits"][0]["file"].endswith(QUESTIONS[0].file)
    assert json.loads(job)["state"] in {"waiting", "running", "done"}
    assert len(json.loads(documents)["documents"]) == len(list((workplace / "docs").iterdir()))
    assert server.returncode == 0


def test_no_block_of_python_is_left_out():
    assert len(blocks("python")) == len(PRINTED)


def test_what_pip_is_asked_for_can_be_installed():
    asked = [one for one in re.findall(r"docrag-qdrant\[([\w,-]+)\]", README)]
    there = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {name for extras in asked for name in extras.split(",")} <= set(there)
    assert asked


def test_settings(workplace: Path, monkeypatch: pytest.MonkeyPatch):
    [text] = blocks("toml")
    (workplace / "toml").mkdir()
    (workplace / "toml" / "docrag.toml").write_text(text)
    monkeypatch.chdir(workplace / "toml")
    settings = load_settings()
    assert {name: getattr(settings, name) for name in tomllib.loads(text)} == tomllib.loads(text)


def test_the_map_names_what_is_there():
    named = set(
        re.findall(r"[\w.]+/?", blocks("")[0].split("the ground")[0] + " read/ caption/ encode/ store/")
    )
    for name in named - {"docrag/"}:
        assert (ROOT / "docrag" / name).exists(), name


def test_the_picture_is_there():
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (ROOT / path).is_file()
