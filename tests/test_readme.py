"""Every command and code block of the README works as written."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from docrag.demo import QUESTIONS, documents
from docrag.settings import load_settings

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for name, text in BLOCKS if name == language]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the README takes for granted: PDFs in docs/, questions and judgements."""
    root = tmp_path_factory.mktemp("readme")
    shutil.copytree(documents(), root / "docs")
    rows = [{"_id": str(i), "text": question.text} for i, question in enumerate(QUESTIONS)]
    (root / "queries.jsonl").write_text("\n".join(map(json.dumps, rows)))
    lines = [f"{i}\t{question.file}#{question.page}\t1" for i, question in enumerate(QUESTIONS)]
    (root / "qrels.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]))
    return root


def run(command: list[str], workplace: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "DOCRAG_INDEX": "my-index"}
    done = subprocess.run(
        command, cwd=workplace, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_ci_runs_the_two_commands_that_install():
    script = (ROOT / ".ci" / "run").read_text()
    assert "docrag demo" in blocks("sh")[0]
    assert blocks("sh")[1].strip() == "make test"
    assert "readme_block 1" in script
    assert "readme_block 2" in script


@pytest.mark.slow
def test_commands(workplace: Path):
    for block in blocks("sh")[2:]:
        run(["bash", "-euc", block], workplace)


@pytest.mark.slow
def test_python(workplace: Path):
    [code] = blocks("python")
    assert f"{QUESTIONS[1].file} {QUESTIONS[1].page} " in run([sys.executable, "-c", code], workplace)


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
