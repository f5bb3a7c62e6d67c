"""Importing haystack_docrag: what it needs, what it loads, and whom it contacts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REFUSE_NETWORK = (
    "import socket, sys\n"
    "def refuse(*_): raise AssertionError('the network was used')\n"
    "socket.socket.connect = socket.getaddrinfo = refuse\n"
)


def run_python(code: str, **environment: str) -> str:
    process = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


def test_without_haystack_the_error_says_what_to_install():
    code = (
        "import sys\n"
        "sys.modules['haystack'] = None\n"
        "try:\n    import haystack_docrag\n"
        "except ModuleNotFoundError as error:\n    print(error)"
    )
    assert "pip install 'docrag-qdrant[haystack]'" in run_python(code)


@pytest.mark.slow
def test_importing_it_loads_no_model_and_uses_no_network(tmp_path: Path):
    code = REFUSE_NETWORK + (
        "import haystack\n"
        "before = set(sys.modules)  # Haystack itself imports torch if it is installed\n"
        "import haystack_docrag\n"
        "loaded = set(sys.modules) - before\n"
        "print({'torch', 'transformers', 'pymupdf', 'qdrant_client', 'qdrant_edge'} & loaded)"
    )
    assert run_python(code, HOME=str(tmp_path)) == "set()"


@pytest.mark.slow
def test_a_run_uses_no_network_if_telemetry_is_off(index: str, tmp_path: Path):
    code = REFUSE_NETWORK + (
        "from haystack import Pipeline\n"
        "from haystack.telemetry import _telemetry\n"
        "from haystack_docrag import DocragRetriever\n"
        "pipeline = Pipeline()\n"
        f"pipeline.add_component('retriever', DocragRetriever({index!r}, top_k=1))\n"
        "[page] = pipeline.run({'retriever': {'query': 'ferry'}})['retriever']['documents']\n"
        "print(_telemetry.telemetry, bool(page.content))\n"
    )
    assert run_python(code, HOME=str(tmp_path)) == "None True"
    assert not (tmp_path / ".haystack").exists()
