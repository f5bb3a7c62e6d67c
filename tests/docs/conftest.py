"""What the pages take for granted: a clone, example documents in an index, models, a Qdrant server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from docrag import Index
from docrag.demo import QUESTIONS, documents
from docrag.settings import Settings
from tests.docs.pages import DOCS, ROOT
from tests.docs.session import Session
from tests.samples import make_image
from tests.servers import Answer, ModelServer
from tests.store.fake_qdrant import FakeQdrant

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB = {"vidore/colqwen2-v1.0": "colqwen2", "openai/clip-vit-base-patch32": "clip"}
"""Checkpoints that the pages name, and the family whose tiny random weights stand in for each."""
CLONE = ("constraints.txt", "pyproject.toml", "Makefile", "README.md", "LICENSE", "docrag", "integrations")
"""What of the repository the commands of the pages need in the working directory."""
MODEL_SERVER = "http://127.0.0.1:11434/v1"
QDRANT_SERVER = "http://localhost:6333/reports"
"""Addresses as the pages write them."""

FROM_SCRATCH = (ROOT / "README.md",)
"""Pages that begin in a fresh clone; the others go on from where the README ends."""
NAMES_CHECKPOINTS = (DOCS / "models.md", DOCS / "troubleshooting.md")
"""Pages whose commands load checkpoints from the hub."""

OpenSession = Callable[[Path], AbstractContextManager[Session]]


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the model hub's cache, empty at first."""
    return tmp_path_factory.mktemp("hub")


@pytest.fixture(scope="session")
def filled_hub(hub: Path, checkpoint: Callable[[str], str]) -> Path:
    """The cache with a checkpoint under every name that the pages use."""
    image, text = checkpoint("clip-multilingual").split("+")
    checkpoints = {model: checkpoint(family) for model, family in HUB.items()}
    checkpoints["sentence-transformers/clip-ViT-B-32"] = image
    checkpoints["sentence-transformers/clip-ViT-B-32-multilingual-v1"] = text
    for model, path in checkpoints.items():
        repository = hub / f"models--{model.replace('/', '--')}"
        shutil.copytree(path, repository / "snapshots" / COMMIT)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(COMMIT)
    return hub


@pytest.fixture(scope="session")
def model_server() -> Iterator[str]:
    """The address of an OpenAI-compatible server that answers everything with "A page."."""
    message = {"role": "assistant", "content": "A page."}
    choices = [{"index": 0, "finish_reason": "stop", "message": message}]
    completion = {"id": "1", "object": "chat.completion", "created": 1, "model": "any", "choices": choices}
    answer = Answer(body=completion, headers={"Content-Type": "application/json"})
    with ModelServer(lambda request: answer) as server:
        yield server.url


@pytest.fixture(scope="session")
def environment(
    tmp_path_factory: pytest.TempPathFactory, hub: Path, model_server: str
) -> Iterator[dict[str, str]]:
    """The variables of every command: programs of the tests first, no network beyond this machine.

    No setting of the tests is among them, so indexes are held by the engine's own process, as for everybody.
    """
    programs = tmp_path_factory.mktemp("programs")
    address = str(tmp_path_factory.mktemp("warm") / "socket")
    warm = Path(__file__).with_name("warm.py")
    for name, program in {
        "docrag": "docrag",
        "python": "python",
        "python3": "venv",
        "pip": "pip",
        "make": "make",
    }.items():
        arguments = '"${@:3}"' if program == "venv" else '"$@"'  # after `-m venv`
        script = programs / name
        script.write_text(
            f"#!/bin/bash\nexec '{sys.executable}' -SE '{warm}' '{address}' {program} {arguments}\n"
        )
        script.chmod(0o755)
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith("DOCRAG_")},
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "integrations"))),
        "DOCRAG_WORKERS": "1",  # a second process takes longer to start than to read its share
        "DOCRAG_ENGINE_IDLE": "5",  # should a session not end what it has started
        "STAND_INS": str(programs),
        "HF_HUB_CACHE": str(hub),
        "HF_HUB_OFFLINE": "1",
        "HAYSTACK_TELEMETRY_ENABLED": "False",
        "OMP_NUM_THREADS": "1",
        "OPENAI_API_KEY": "none",
        "OPENAI_BASE_URL": model_server,
    }
    command = [sys.executable, warm, "serve", address]
    with subprocess.Popen(command, env=variables, start_new_session=True) as server:
        while not Path(address).exists():
            assert server.poll() is None, "the warm interpreter did not start"
            time.sleep(0.05)
        yield variables
        os.killpg(server.pid, signal.SIGTERM)  # with forks that still run


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone after the quickstart: examples/, my-index/, and the files that other pages mention.

    `untouched` beside it is a copy. An index knows its files by their absolute paths, so every page works in
    the same directory.
    """
    folder = tmp_path_factory.mktemp("workplace") / "clone"
    folder.mkdir()
    shutil.copytree(documents(), folder / "examples")
    for name in CLONE:
        (folder / name).symlink_to(ROOT / name)
    make_image(1).save(folder / "photo.png")
    queries = [{"_id": str(i), "text": question.text} for i, question in enumerate(QUESTIONS)]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    qrels = [f"{i}\t{question.file}#{question.page}\t1" for i, question in enumerate(QUESTIONS)]
    (folder / "qrels.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *qrels]))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # files are named by the path at which they were ingested
        with Index.open("my-index", settings=Settings(ocr=False, workers=1)) as index:
            assert not index.ingest("examples").failures
    copy(folder, folder.with_name("untouched"))
    return folder


def copy(folder: Path, target: Path) -> None:
    """Copy a folder with the times of its files; holes in them stay holes."""
    subprocess.run(["cp", "-a", folder, target], check=True)


@pytest.fixture
def open_session(
    workplace: Path,
    environment: dict[str, str],
    model_server: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Iterator[OpenSession]:
    """Gives a session for a page, in a directory of its own."""
    with FakeQdrant() as qdrant:

        def open_page(page: Path) -> Session:
            shutil.rmtree(workplace)
            copy(workplace.with_name("untouched"), workplace)
            settings = {
                "XDG_DATA_HOME": str(tmp_path / "data"),
                "XDG_CACHE_HOME": str(tmp_path / "cache"),
                "TMPDIR": str(tmp_path),
            }
            if page in FROM_SCRATCH:
                shutil.rmtree(workplace / "my-index")
                shutil.rmtree(workplace / "examples")
            else:
                settings["DOCRAG_INDEX"] = "my-index"
                settings["DOCRAG_OCR"] = "false"  # it takes 15 s of every ingest
            if page in NAMES_CHECKPOINTS:
                request.getfixturevalue("filled_hub")
            return Session(
                workplace,
                tmp_path,
                {**environment, **settings},
                {MODEL_SERVER: model_server, QDRANT_SERVER: qdrant.uri},
            )

        yield open_page
