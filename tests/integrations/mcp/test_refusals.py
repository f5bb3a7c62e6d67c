"""What the MCP server and `docrag mcp` refuse, and what the command prints."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from docrag.cli import app
from docrag.errors import SettingsError
from docrag.types import page_id

pytest.importorskip("mcp_types", reason="the MCP SDK is not installed")

from mcp import Client
from mcp_docrag import make_server, require_loopback

UNKNOWN = page_id("ab" * 32, 1)
INVALID_CALLS = {
    "a huge k": ("search_pages", {"query": "x", "k": 10**9}, "k: Input should be less than or equal to 20"),
    "no k": ("search_pages", {"query": "x", "k": 0}, "k: Input should be greater than or equal to 1"),
    "k as a word": ("search_pages", {"query": "x", "k": "many"}, "k: Input should be a valid integer"),
    "no query": ("search_pages", {}, "query: Field required"),
    "an empty query": ("search_pages", {"query": ""}, "query: String should have at least 1 character"),
    "a blank query": ("search_pages", {"query": "  "}, "empty"),
    "a long query": ("search_pages", {"query": "x" * 1001}, "at most 1000 characters"),
    "a wrong mode": (
        "search_pages",
        {"query": "x", "mode": "best"},
        "mode: Input should be 'hybrid', 'late'",
    ),
    "a wrong filter": (
        "search_pages",
        {"query": "x", "filter": "a.pdf"},
        'not an object such as {"file_name"',
    ),
    "a wrong key": ("search_pages", {"query": "x", "filter": {"a b": 1}}, "a b"),
    "many filters": ("search_pages", {"query": "x", "filter": dict.fromkeys("abcdefghi", 1)}, "filter: Dict"),
    "an unknown argument": ("search_pages", {"query": "x", "top_k": 3}, "top_k: there is no such argument"),
    "a path": (
        "get_page",
        {"page_id": "/etc/passwd"},
        "page_id: not the id of a page; search_pages returns them",
    ),
    "a traversal": ("get_page", {"page_id": "../" * 8 + "etc/passwd"}, "page_id: not the id of a page"),
    "an id and more": ("get_page", {"page_id": f"{UNKNOWN}/../x"}, "page_id: not the id of a page"),
    "an unknown page": ("get_page", {"page_id": UNKNOWN}, UNKNOWN),
    "no query for regions": ("get_page", {"page_id": "best", "detail": "regions"}, "hint: give a query"),
    "a wrong detail": ("get_page", {"page_id": UNKNOWN, "detail": "pdf"}, "detail: Input should be 'text'"),
    "a page as a list": ("get_page", {"page_id": [UNKNOWN]}, "page_id: Input should be a valid string"),
    "a negative offset": ("list_documents", {"offset": -1}, "offset: Input should be greater than or equal"),
}


@pytest.mark.parametrize(("tool", "arguments", "message"), INVALID_CALLS.values(), ids=INVALID_CALLS)
async def test_an_invalid_call_is_an_error_that_explains_itself(demo_index, tool, arguments, message):
    if arguments.get("page_id") == "best":
        arguments = arguments | {"page_id": demo_index.search("catering", k=1)[0].page_id}
    async with Client(make_server(demo_index)) as client:
        result = await client.call_tool(tool, arguments)
    assert result.is_error
    (text,) = [block.text for block in result.content]
    assert text.startswith("error: ")
    assert message in text
    assert "Traceback" not in text
    assert len(text) < 400
    assert result.structured_content is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", "127.0.0.1.evil.org", ""])
def test_addresses_that_other_machines_can_reach_are_refused(host):
    with pytest.raises(SettingsError, match="others could read") as refused:
        require_loopback(host)
    assert "ssh -L" in refused.value.hint


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_loopback_addresses_are_accepted(host):
    require_loopback(host)


def run(*arguments: object):
    return CliRunner().invoke(app, ["mcp", *map(str, arguments)])


def test_the_command_prints_the_configuration_of_a_client(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed = json.loads(run("--config", "--index", "my-index", "--device", "cpu").stdout)
    config = printed["mcpServers"]["docrag"]
    assert config["command"] == sys.executable
    assert config["args"] == [
        "-m",
        "docrag",
        "mcp",
        "--index",
        str(tmp_path / "my-index"),
        "--device",
        "cpu",
    ]
    printed = json.loads(
        run("--json", "--http", "--port", 9000, "--index", "http://qdrant:6333/reports").stdout
    )
    assert printed == {"mcpServers": {"docrag": {"type": "http", "url": "http://127.0.0.1:9000/mcp"}}}
    remote = json.loads(run("--config", "--index", "http://qdrant:6333/reports").stdout)
    assert "http://qdrant:6333/reports" in remote["mcpServers"]["docrag"]["args"]


def test_the_command_refuses_a_public_host_and_a_missing_index(tmp_path):
    open_to_all = run("--http", "--host", "0.0.0.0", "--index", tmp_path)
    assert (open_to_all.exit_code, open_to_all.stdout) == (2, "")
    assert "host 0.0.0.0: others could read all documents" in open_to_all.stderr
    nothing = run("--index", tmp_path / "none")
    assert (nothing.exit_code, nothing.stdout) == (1, "")
    assert "docrag ingest" in nothing.stderr


def test_without_the_sdk_the_error_says_what_to_install():
    hidden = "import sys; sys.modules['mcp_types'] = None\n"
    imported = hidden + "try: import mcp_docrag\nexcept ImportError as error: print(error)"
    assert "pip install 'docrag-qdrant[mcp]'" in run_python(imported).stdout
    ran = run_python(hidden + "from docrag.cli import main; sys.argv = ['docrag', 'mcp']; main()")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "pip install 'docrag-qdrant[mcp]'" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.slow
def test_importing_it_loads_no_other_framework():
    others = "{'langchain_core', 'llama_index', 'haystack', 'torch'}"
    assert run_python(f"import mcp_docrag, sys; print({others} & set(sys.modules))").stdout.strip() == "set()"


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
