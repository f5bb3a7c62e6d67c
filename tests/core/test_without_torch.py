"""The default models need nothing of the extra `models`: everything that people do works without torch.

Each test runs a process that does not find those packages. `.ci/run` runs this file a second time, where none
of them is installed; it then needs nothing but docrag's core, the extras serve and mcp, and pytest.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import pytest

HIDDEN = ("torch", "transformers", "sentence_transformers", "colpali_engine", "scipy", "sklearn")
"""What only the extra `models` installs."""
HIDE = f"""if True:
    from importlib.machinery import PathFinder

    find = PathFinder.find_spec

    def find_spec(name, path=None, target=None):
        return None if name.partition(".")[0] in {HIDDEN} else find(name, path, target)

    PathFinder.find_spec = find_spec
"""
"""Python runs this when it starts, in the processes that docrag starts as well."""
QUESTION = "How much did the ferry company earn from catering in 2023?"
ANSWER = "skerry_lines_annual_report_2023.pdf"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of a process that does not find what is not in the core."""
    folder = tmp_path_factory.mktemp("hide")
    (folder / "sitecustomize.py").write_text(HIDE)
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, "DOCRAG_WORKERS": "1", "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def index(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index that `docrag demo` has made."""
    folder = tmp_path_factory.mktemp("demo")
    printed = docrag(environment, "demo", "--index", folder / "index", "--keep", folder / "docs", "--json")
    assert Path(json.loads(printed)["answers"][0]["hit"]["file"]).name == ANSWER
    return folder / "index"


def docrag(environment: dict[str, str], *arguments: object) -> str:
    """What a command prints."""
    return python(environment, "-m", "docrag", *map(str, arguments))


def python(environment: dict[str, str], *arguments: str) -> str:
    """What a program prints."""
    command = [sys.executable, *arguments]
    # In another directory, so that the docrag that is installed runs, not the one of this checkout.
    ran = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def run_code(environment: dict[str, str], code: str, *arguments: object) -> str:
    """What some code prints."""
    return python(environment, "-c", textwrap.dedent(code), *map(str, arguments))


def test_nothing_of_the_extra_is_installed():
    if "DOCRAG_CORE_ONLY" not in os.environ:
        pytest.skip("the step of .ci/run for the core sets DOCRAG_CORE_ONLY")
    assert [name for name in HIDDEN if find_spec(name)] == []


def test_processes_do_not_find_torch(environment):
    with pytest.raises(AssertionError, match="No module named 'torch'"):
        run_code(environment, "import torch")


def test_ingest_finds_nothing_to_do_after_the_demo(environment, index):
    printed = docrag(environment, "ingest", index.parent / "docs", "--index", index, "--json")
    assert json.loads(printed.splitlines()[-1])["summary"]["unchanged"] == 5


@pytest.mark.parametrize("mode", ["hybrid", "late", "cosine", "text"])
def test_search(environment, index, mode):
    printed = docrag(environment, "search", QUESTION, "--index", index, "--mode", mode, "--json")
    assert ANSWER in {Path(hit["file"]).name for hit in json.loads(printed)["hits"][:3]}


def test_export_and_import(environment, index, tmp_path):
    docrag(environment, "export", tmp_path / "export", "--index", index)
    docrag(environment, "import", tmp_path / "export", "--index", tmp_path / "copy")
    assert ANSWER in docrag(environment, "search", QUESTION, "--index", tmp_path / "copy", "--json")


def test_models_and_doctor(environment, index):
    assert "pip install 'docrag-qdrant[models]'" in docrag(environment, "models")
    checks = json.loads(docrag(environment, "doctor", "--index", index, "--json"))
    assert checks["torch"]["ok"]
    assert "not installed" in checks["torch"]["detail"]


def test_the_langchain_retriever(environment, index):
    code = """
        import sys
        from langchain_docrag import DocragRetriever

        with DocragRetriever.from_index(sys.argv[1], k=1) as retriever:
            print(retriever.invoke(sys.argv[2])[0].metadata["source"])
    """
    assert ANSWER in run_code(environment, code, index, QUESTION)


def test_serve(environment, index):
    code = """
        import sys
        from docrag import Index
        from docrag.serve.app import create_app
        from starlette.testclient import TestClient

        with Index.open(sys.argv[1]) as index:
            client = TestClient(create_app(index), base_url="http://127.0.0.1:8000")
            answer = client.post("/v1/search", json={"query": sys.argv[2]})
            print(answer.status_code, answer.json()["hits"][0]["file"])
    """
    printed = run_code(environment, code, index, QUESTION)
    assert printed.startswith("200 ")
    assert ANSWER in printed


def test_mcp(environment, index):
    code = """
        import asyncio
        import sys
        from docrag import Index
        from mcp import Client
        from mcp_docrag.server import make_server

        async def ask(index):
            async with Client(make_server(index)) as client:
                return await client.call_tool("search_pages", {"query": sys.argv[2]})

        with Index.open(sys.argv[1]) as index:
            print(asyncio.run(ask(index)))
    """
    assert ANSWER in run_code(environment, code, index, QUESTION)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--late", "colqwen2.5"),
        ("--image", "clip-vit-b-32"),
        ("--text", "bge-m3"),
        ("--late", "organisation/model"),
        ("--device", "cuda"),
        ("--dtype", "bfloat16"),
    ],
)
def test_what_needs_the_extra_says_so(environment, index, tmp_path, option, value):
    command = [sys.executable, "-m", "docrag", "ingest", str(index.parent / "docs" / ANSWER)]
    command += ["--index", str(tmp_path / "index"), option, value]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 1
    assert f"{value} needs torch, which is not installed" in ran.stderr
    assert "pip install 'docrag-qdrant[models]'" in ran.stderr
