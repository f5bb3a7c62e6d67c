"""Importing llama_index_docrag: what it needs, what it loads, and whom it contacts."""

from __future__ import annotations

import subprocess
import sys

import pytest


def run_python(code: str) -> str:
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


def test_without_llama_index_the_error_says_what_to_install():
    code = (
        "import sys\n"
        "sys.modules['llama_index'] = None\n"
        "try:\n    import llama_index_docrag\n"
        "except ModuleNotFoundError as error:\n    print(error, '|', error.name)"
    )
    assert "pip install 'docrag-qdrant[llama-index]'" in run_python(code)


@pytest.mark.slow
def test_importing_it_loads_no_model_and_uses_no_network():
    code = (
        "import socket, sys\n"
        "def refuse(*_): raise AssertionError('the network was used')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "import llama_index_docrag\n"
        "from llama_index.core.utils import get_tokenizer\n"
        "assert get_tokenizer()('a page')\n"
        "print({'torch', 'transformers', 'pymupdf', 'qdrant_client', 'qdrant_edge'} & set(sys.modules))"
    )
    assert run_python(code) == "set()"
