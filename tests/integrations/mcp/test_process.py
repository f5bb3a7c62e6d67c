"""`docrag mcp` as a process, with clients over stdio and HTTP."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from docrag import Index
from docrag.types import page_id

pytest.importorskip("mcp_types", reason="the MCP SDK is not installed")

from anyio.from_thread import start_blocking_portal
from mcp import Client, StdioServerParameters

pytestmark = pytest.mark.slow

CATERING = "How much did the ferry company earn from catering in 2023?"
QUESTIONS = [
    CATERING,
    "What do four red flashes mean?",
    "Which ferry route grew fastest?",
    "How often must the cartridge be changed?",
    "Woher kommt die Wärme?",
    "How large is the mean absolute error with forty labels?",
    "Why did the gearbox bearing fail?",
    "What did fuel cost?",
    "Who pays for repairs?",
    "How many departures were on time?",
]
CLIENT_INFO = {"name": "test", "version": "1"}
INITIALIZE = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": CLIENT_INFO}


def request(number: int, method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def command(index: Path, *flags: str) -> list[str]:
    return [sys.executable, "-m", "docrag", "mcp", "--index", str(index), *flags]


class BlockingClient:
    """A client of the SDK whose event loop runs in a thread, so that several tests can share it."""

    def __init__(self, client: Client, call: Callable[..., Any]) -> None:
        self._client = client
        self._call = call

    def tool(self, name: str, **arguments: Any) -> Any:
        return self._call(self._client.call_tool, name, arguments)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *arguments: self._call(getattr(self._client, name), *arguments)


@contextmanager
def connected(server: Any) -> Iterator[BlockingClient]:
    with start_blocking_portal() as portal:
        client = Client(server)
        with portal.wrap_async_context_manager(client):
            yield BlockingClient(client, portal.call)


@pytest.fixture(scope="module")
def over_stdio(demo_copy) -> Iterator[BlockingClient]:
    program, *arguments = command(demo_copy())
    with connected(StdioServerParameters(command=program, args=arguments)) as client:
        yield client


@contextmanager
def http_server(index: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with subprocess.Popen(
        command(index, "--http", "--port", "0", *flags),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            line = process.stderr.readline()
            yield process, re.search(r"MCP at (http://\S+)", line)[1]
        finally:
            process.kill()


@pytest.fixture(scope="module")
def url(demo_copy) -> Iterator[str]:
    with http_server(demo_copy()) as (_, address):
        yield address


@pytest.fixture(scope="module")
def over_http(url) -> Iterator[BlockingClient]:
    with connected(url) as client:
        yield client


@pytest.fixture(params=["over_stdio", "over_http"])
def client(request) -> BlockingClient:
    return request.getfixturevalue(request.param)


def test_a_client_searches_and_reads_pages(client):
    assert [tool.name for tool in client.list_tools().tools] == ["search_pages", "get_page", "list_documents"]
    search = client.tool("search_pages", query=CATERING, k=3, images="regions")
    best = search.structured_content["hits"][0]
    assert (Path(best["file"]).name, best["page"]) == ("skerry_lines_annual_report_2023.pdf", 3)
    assert "24.6" in best["text"]
    assert {block.type for block in search.content} == {"text", "image", "resource_link"}
    page = client.tool("get_page", page_id=best["page_id"], detail="image")
    assert [block.type for block in page.content] == ["text", "image"]
    kinds = [part.mime_type for part in client.read_resource(best["uri"]).contents]
    assert kinds == ["text/plain", "image/jpeg"]
    assert client.tool("list_documents").structured_content["total"] == 5


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("get_page", {"page_id": "../../../../etc/passwd"}, "page_id: not the id of a page"),
        ("search_pages", {"query": "x", "k": 10**9}, "k: Input should be less than or equal to 20"),
        ("get_page", {"page_id": page_id("ab" * 32, 1)}, page_id("ab" * 32, 1)),
    ],
)
def test_invalid_calls_are_refused(client, tool, arguments, message):
    result = client.tool(tool, **arguments)
    assert result.is_error
    assert message in result.content[0].text


def test_concurrent_searches_return_the_same_as_single_ones(over_http, url):
    def pages(client: BlockingClient, question: str) -> list[str]:
        answer = client.tool("search_pages", query=question, k=5)
        return [hit["page_id"] for hit in answer.structured_content["hits"]]

    one_by_one = [pages(over_http, question) for question in QUESTIONS]
    assert len({tuple(page_ids) for page_ids in one_by_one}) > 5
    with connected(url) as other, ThreadPoolExecutor(10) as threads:
        clients = [over_http, other] * 5
        assert list(threads.map(pages, clients, QUESTIONS)) == one_by_one


FOREIGN_REQUESTS = {
    "another host": ({"Host": "evil.example"}, 421),
    "another host with our port": ({"Host": "evil.example:8765"}, 421),
    "a host that begins like ours": ({"Host": "127.0.0.1.evil.example:80"}, 421),
    "another machine": ({"Host": "192.168.1.5:8765"}, 421),
    "a foreign web page": ({"Origin": "https://evil.example"}, 403),
    "a web page whose host begins like ours": ({"Origin": "http://localhost.evil.example:80"}, 403),
    "a null origin": ({"Origin": "null"}, 403),
    "a form": ({"Content-Type": "text/plain"}, 400),
}


@pytest.mark.parametrize("version", ["2025-06-18", "2026-07-28"])
@pytest.mark.parametrize(("headers", "status"), FOREIGN_REQUESTS.values(), ids=FOREIGN_REQUESTS)
def test_requests_of_foreign_web_pages_are_refused(url, headers, status, version):
    call = request(1, "tools/call", name="list_documents", arguments={})
    with httpx.Client(trust_env=False) as browser:
        answer = browser.post(url, json=call, headers=_headers(version) | headers)
    assert answer.status_code == status
    assert "skerry" not in answer.text


def test_requests_of_this_machine_are_accepted(url):
    call = request(1, "tools/call", name="list_documents", arguments={})
    port = httpx.URL(url).port
    with httpx.Client(trust_env=False) as browser:
        for headers in ({}, {"Host": f"localhost:{port}"}, {"Origin": f"http://127.0.0.1:{port}"}):
            answer = browser.post(url, json=call, headers=_headers("2025-06-18") | headers)
            assert answer.status_code == 200
            assert "skerry" in answer.text
        large = request(1, "tools/call", name="search_pages", arguments={"query": "x" * 300_000})
        assert browser.post(url, json=large, headers=_headers("2025-06-18")).status_code == 413
        assert browser.get(url, headers={"Host": "evil.example"}).status_code == 421


def _headers(version: str) -> dict[str, str]:
    return {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": version}


def test_stdout_has_nothing_but_the_protocol(demo_copy):
    index = demo_copy()
    lines = [
        json.dumps(request(1, "initialize", **INITIALIZE)),
        json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        "this is no JSON",
        json.dumps(["neither", "is", "this", "a request"]),
        json.dumps(request(2, "tools/call", name="search_pages", arguments={"query": CATERING})),
        json.dumps(request(3, "tools/call", name="search_pages", arguments="a string")),
        json.dumps(request(4, "no/such/method")),
    ]
    with subprocess.Popen(
        command(index), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdin.write("\n".join(lines) + "\n")
        process.stdin.flush()
        answers = [json.loads(process.stdout.readline()) for _ in range(4)]
        process.send_signal(signal.SIGTERM)  # stdin is still open
        assert process.wait(timeout=60) == 0
        assert process.stdout.read() == ""
        assert process.stderr.read() == ""
    assert all(answer["jsonrpc"] == "2.0" for answer in answers)
    by_id = {answer["id"]: answer for answer in answers}
    assert by_id[1]["result"]["serverInfo"]["name"] == "docrag"
    assert "24.6" in by_id[2]["result"]["content"][0]["text"]
    assert by_id[3]["error"]["code"] == -32602
    assert by_id[4]["error"]["code"] == -32601
    with Index.open(index, create=False) as reopened:
        assert reopened.status().pages == 15


@pytest.mark.parametrize("last", ["", "{"], ids=["between lines", "within a line"])
def test_the_server_ends_when_the_client_closes_stdin(demo_copy, last):
    messages = json.dumps(request(1, "initialize", **INITIALIZE)) + "\n" + last
    process = subprocess.run(
        command(demo_copy()), input=messages, capture_output=True, text=True, timeout=60, check=False
    )
    assert process.returncode == 0
    assert process.stderr == ""
    assert [json.loads(line)["id"] for line in process.stdout.splitlines()] == [1]


CLIENT = """
import subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdin.write(sys.stdin.readline().encode()); child.stdin.flush()
child.stdout.readline()
print(child.pid, flush=True)
child.wait()
"""


def test_the_server_ends_when_the_client_is_killed(demo_copy):
    with subprocess.Popen(
        [sys.executable, "-c", CLIENT, *command(demo_copy())],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as killed:  # fmt: skip
        killed.stdin.write(json.dumps(request(1, "initialize", **INITIALIZE)) + "\n")
        killed.stdin.flush()
        server = psutil.Process(int(killed.stdout.readline()))
        assert server.is_running()
        killed.kill()
    deadline = time.monotonic() + 60
    while server.is_running() and server.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the server outlives its client"
        time.sleep(0.05)


def test_ctrl_c_stops_the_http_server_and_closes_the_index(demo_copy):
    index = demo_copy()
    with http_server(index) as (process, address), connected(address) as client:
        assert not client.tool("search_pages", query=CATERING).is_error
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert process.stdout.read() == ""
        assert "Traceback" not in process.stderr.read()
    with Index.open(index, create=False) as reopened:
        assert reopened.status().pages == 15


def test_a_port_that_is_in_use_is_refused(demo_copy):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        process = subprocess.run(
            command(demo_copy(), "--http", "--port", str(port)),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (process.returncode, process.stdout) == (2, "")
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in process.stderr
