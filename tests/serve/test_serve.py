"""The command as a process, and other commands beside it."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from click.testing import Result
from typer.testing import CliRunner

from docrag import Index, Settings
from docrag.cli import app
from docrag.serve.handover import NOTICE, advertised, find_holder
from tests.samples import CLOCK, write_pdf
from tests.serve.conftest import KEY

pytestmark = pytest.mark.slow

QUESTION = "ferry timetable of the islands"


class Server:
    """A `docrag serve` process."""

    def __init__(self, folder: Path, *flags: str, **environment: str) -> None:
        command = [sys.executable, "-m", "docrag", "serve", "--port", "0", "--json", "--index", str(folder)]
        self.process = subprocess.Popen(
            [*command, *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        self.url = json.loads(line)["url"]

    def upload(self, path: Path) -> None:
        """Add a document, and wait until it can be found."""
        sent = httpx.post(f"{self.url}/v1/ingest", files={"files": (path.name, path.read_bytes())})
        where = self.url + sent.headers["Location"]
        while (job := httpx.get(where).json())["state"] != "done":
            assert job["state"] in {"waiting", "running"}, job
            time.sleep(0.1)

    def end(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Stop it: its exit code, and what it wrote on stderr."""
        self.process.send_signal(how)
        _, err = self.process.communicate(timeout=60)
        return self.process.returncode, err


@pytest.fixture
def serve(folder: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers of the small index; those that still run end with the test."""
    servers: list[Server] = []

    def start(*flags: str, **environment: str) -> Server:
        servers.append(Server(folder, *flags, **environment))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.process.kill()
            server.process.communicate()


def docrag(*arguments: object) -> Result:
    """Run a command in this process, which is another one than the server's."""
    return CliRunner().invoke(app, list(map(str, arguments)))


def told(done: Result) -> dict:
    assert done.exit_code == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer.pop("took_ms") > 0
    return answer


def test_a_second_command_is_answered_by_the_server_and_prints_the_same(serve, folder: Path):
    asked = ("search", QUESTION, "--index", folder, "-k", 2)
    alone, alone_table = told(docrag(*asked, "--json")), docrag(*asked).stdout
    server = serve()
    notice = folder / NOTICE
    assert notice.stat().st_mode & 0o777 == 0o600
    beside = docrag(*asked, "--json", "--mode", "late", "--filter", "page=1")
    assert f"asking {server.url}" in beside.stderr
    assert [hit["page"] for hit in told(beside)["hits"]] == [1]
    assert told(docrag(*asked, "--json")) == alone
    assert docrag(*asked).stdout == alone_table
    marked = told(docrag(*asked, "--json", "--open"))["marked"]
    assert Path(marked).stat().st_size > 1000
    wrong = docrag("search", "x", "--index", folder, "--filter", "page=one")
    assert (wrong.exit_code, "not a page number" in wrong.stderr) == (2, True)
    code, err = server.end()
    assert code == 0
    assert "Traceback" not in err
    assert not notice.exists()


def test_a_server_with_a_key_gives_commands_of_its_owner_a_token(serve, folder: Path):
    server = serve("--log-requests", DOCRAG_SERVE_KEY=KEY)
    notice = (folder / NOTICE).read_text()
    assert KEY not in notice
    assert httpx.post(f"{server.url}/v1/search", json={"query": "x"}).status_code == 401
    assert told(docrag("search", QUESTION, "--index", folder, "--json", "-k", 1))["hits"]
    refused = docrag("status", "--index", folder)
    assert f"end process {server.process.pid}, which has it open; if it is docrag serve" in refused.stderr
    secret = "secretquestion"
    httpx.get(f"{server.url}/", params={"q": secret}, headers={"Authorization": f"Bearer {KEY}"})
    httpx.get(f"{server.url}/v1/pages/{'0' * 8}-0000-0000-0000-{'0' * 12}/heatmap", params={"q": secret})
    code, err = server.end(signal.SIGINT)
    assert code == 130
    assert "GET / " in err
    for never in (secret, QUESTION, KEY, json.loads(notice)["token"]):
        assert never not in err


def test_a_notice_that_a_killed_server_left_is_ignored(serve, folder: Path):
    server = serve()
    server.process.kill()
    server.process.communicate()
    assert (folder / NOTICE).exists()
    assert told(docrag("search", QUESTION, "--index", folder, "--json", "-k", 1))["hits"]  # opens it itself
    with Index.open(folder, create=False):
        refused = docrag("search", QUESTION, "--index", folder)
    assert refused.exit_code == 1
    assert "is open already" in refused.stderr


def test_a_notice_of_another_server_is_not_believed(tmp_path: Path):
    asked = []

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers.get("Authorization")))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"status": "ok", "run": "of another"}')

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{other.server_port}"
        with advertised(tmp_path, url, "of this one", "token"), find_holder(tmp_path) as holder:
            assert holder is None
        with advertised(tmp_path, url, "of another", "token"), find_holder(tmp_path) as holder:
            assert holder is not None
        other.shutdown()
        thread.join()
    assert asked == [("/healthz", None)] * 2  # the token went nowhere


def test_a_notice_that_leads_to_another_machine_is_not_followed(tmp_path: Path, monkeypatch):
    asked = []
    monkeypatch.setattr(httpx, "get", lambda url, **_: asked.append(url))
    for url in ("http://192.0.2.1:8000", "http://search.example", "http://[2001:db8::1]:80", "http://"):
        with advertised(tmp_path, url, "run", "token"), find_holder(tmp_path) as holder:
            assert holder is None
    assert not asked


def test_the_notice_of_the_next_server_stays(tmp_path: Path):
    with advertised(tmp_path, "http://127.0.0.1:1", "first", ""):
        next_one = advertised(tmp_path, "http://127.0.0.1:2", "next", "")
        next_one.__enter__()
    assert json.loads((tmp_path / NOTICE).read_text())["run"] == "next"
    next_one.__exit__(None, None, None)
    assert not (tmp_path / NOTICE).exists()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"url": 1}', '{"url": "nonsense", "run": "a", "token": ""}']
)
def test_a_broken_notice_is_none(tmp_path: Path, content: str):
    (tmp_path / NOTICE).write_text(content)
    with find_holder(tmp_path) as holder:
        assert holder is None


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_an_ingest_ends_it_in_good_order(serve, folder: Path, tmp_path: Path, how):
    server = serve("--allow-ingest")
    content = write_pdf(tmp_path / "many.pdf", *[f"{CLOCK} Number {n}." for n in range(150)]).read_bytes()
    job = httpx.post(f"{server.url}/v1/ingest", files={"files": ("many.pdf", content)}).json()["job"]
    with httpx.stream("GET", f"{server.url}/v1/ingest/{job}/events", timeout=60) as stream:
        lines = stream.iter_lines()
        assert any(line.startswith('data: {"pages": ') and '"pages": 0' not in line for line in lines)
        started = time.monotonic()
        server.process.send_signal(how)
        rest = list(lines)
    assert "event: end" in rest
    assert '"stopped"' in " ".join(rest)
    code, err = server.end(how) if server.process.poll() is None else (server.process.returncode, "")
    assert code == (130 if how is signal.SIGINT else 0)
    assert time.monotonic() - started < 30
    assert "Traceback" not in err
    with Index.open(folder, create=False) as index:
        assert index.search("pendulum", k=1)
        assert not index.status().incomplete
    assert (folder / "uploads" / ".many.pdf.waiting").exists()


def test_errors_have_hints(folder: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for flags, says, hint in (
            (["--port", port], f"cannot listen on 127.0.0.1:{port}: Address already in use", "--port 0"),
            (["--index", folder / "nowhere"], "there is no index", "docrag ingest"),
            (["--index", folder / "fingerprint.json"], "there is no index", "docrag ingest"),
            (["--index", folder / "manifest.sqlite", "--allow-ingest"], "is no index", "not there yet"),
            (["--host", "0.0.0.0"], "others could read", "DOCRAG_SERVE_KEY"),
            (["--host", "192.0.2.1", "--api-key", KEY], "cannot listen", "an address of this machine"),
        ):
            done = docrag(
                "serve", "--index", folder, *(["--port", 0] if "--port" not in flags else []), *flags
            )
            assert done.exit_code in (1, 2)
            assert says in done.stderr, done.stderr
            assert hint in done.stderr
            assert "Traceback" not in done.stderr


def test_slow_and_broken_clients_are_cut_off(serve, monkeypatch):
    server = serve()
    host, port = server.url.removeprefix("http://").split(":")

    def say(data: bytes) -> bytes:
        with socket.create_connection((host, int(port)), timeout=40) as client:
            client.sendall(data)
            answer = b""
            while chunk := client.recv(65536):
                answer += chunk
            return answer

    for nonsense in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\nConnection: close\r\n\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 100_000,
    ):
        status = say(nonsense).split(b" ", 2)[1:2]
        assert status in ([], [b"400"], [b"421"], [b"404"], [b"414"], [b"431"]), (nonsense[:60], status)
    started = time.monotonic()
    assert say(b"GET /healthz HT") == b""  # a head that never ends
    assert 10 < time.monotonic() - started < 25
    assert httpx.get(f"{server.url}/healthz").status_code == 200
    code, err = server.end()
    assert code == 0
    assert "Traceback" not in err


def test_an_upload_leaves_the_addresses_of_the_pages_that_are_there(serve, folder: Path, tmp_path: Path):
    with Index.open(folder, create=False, settings=Settings(image_base_url="https://pages.example")) as index:
        index.ingest(write_pdf(tmp_path / "bells.pdf", "The bells of the ferry."))
    server = serve("--allow-ingest")
    server.upload(write_pdf(tmp_path / "clock.pdf", CLOCK))
    server.end()
    with Index.open(folder, create=False) as index:
        addresses = [hit.image_url for hit in index.search("ferry clock", k=10)]
    assert len(addresses) == 4
    assert all(address.startswith("https://pages.example/pages/") for address in addresses)


def test_a_new_index_says_that_its_pages_are_served_here(tmp_path: Path):
    server = Server(tmp_path / "new", "--allow-ingest")
    try:
        server.upload(write_pdf(tmp_path / "clock.pdf", CLOCK))
    finally:
        server.end()
    with Index.open(tmp_path / "new", create=False) as index:
        assert index.search("clock", k=1)[0].image_url.startswith(f"{server.url}/pages/")
