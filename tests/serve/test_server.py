"""`docrag serve` as a process, and other commands beside it."""

import signal
import socket
import time
from pathlib import Path

import httpx
import pytest
from click.testing import Result
from typer.testing import CliRunner

from docrag import Index, Settings
from docrag.cli import app
from tests.samples import CLOCK, write_pdf
from tests.serve.conftest import KEY
from tests.serve.processes import ServerProcess

pytestmark = pytest.mark.slow

QUESTION = "ferry timetable of the islands"


def docrag(*arguments: object) -> Result:
    """Run a command in this process; the server has its own."""
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_a_server_with_a_key_logs_neither_the_key_nor_questions(serve, folder: Path):
    server = serve("--log-requests", DOCRAG_SERVE_KEY=KEY)
    assert httpx.post(f"{server.url}/v1/search", json={"query": "x"}).status_code == 401
    secret = "secretquestion"
    httpx.get(f"{server.url}/", params={"q": secret}, headers={"Authorization": f"Bearer {KEY}"})
    httpx.get(f"{server.url}/v1/pages/{'0' * 8}-0000-0000-0000-{'0' * 12}/heatmap", params={"q": secret})
    code, err = server.end(signal.SIGINT)
    assert code == 130
    assert "GET / " in err
    for hidden in (secret, KEY):
        assert hidden not in err


def test_the_notice_of_an_earlier_version_is_removed(serve, folder: Path):
    notice = folder / "serve.json"
    notice.write_text('{"url": "http://127.0.0.1:1", "pid": 1, "run": "a", "token": "b"}')
    server = serve()
    assert not notice.exists()
    assert httpx.post(f"{server.url}/v1/search", json={"query": QUESTION}).json()["hits"]


@pytest.mark.parametrize("sent_signal", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_an_ingest_stops_it_cleanly(serve, folder: Path, tmp_path: Path, sent_signal):
    server = serve("--allow-ingest")
    content = write_pdf(tmp_path / "many.pdf", *[f"{CLOCK} Number {n}." for n in range(150)]).read_bytes()
    job = httpx.post(f"{server.url}/v1/ingest", files={"files": ("many.pdf", content)}).json()["job"]
    with httpx.stream("GET", f"{server.url}/v1/ingest/{job}/events", timeout=60) as stream:
        lines = stream.iter_lines()
        assert any(line.startswith('data: {"pages": ') and '"pages": 0' not in line for line in lines)
        started = time.monotonic()
        server.process.send_signal(sent_signal)
        rest = list(lines)
    assert "event: end" in rest
    assert '"stopped"' in " ".join(rest)
    code, err = server.end(sent_signal) if server.process.poll() is None else (server.process.returncode, "")
    assert code == (130 if sent_signal is signal.SIGINT else 0)
    assert time.monotonic() - started < 30
    assert "Traceback" not in err
    with Index.open(folder, create=False) as index:
        assert index.search("pendulum", k=1)
        assert not index.status().incomplete
    assert (folder / "uploads" / ".many.pdf.waiting").exists()


def test_errors_have_hints(folder: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for flags, message, hint in (
            (["--port", port], f"cannot listen on 127.0.0.1:{port}: Address already in use", "--port 0"),
            (["--index", folder / "nowhere"], "there is no index", "docrag ingest"),
            (["--index", folder / "fingerprint.json"], "there is no index", "docrag ingest"),
            (["--index", folder / "manifest.sqlite", "--allow-ingest"], "is not an index", "does not exist"),
            (["--pages-of", folder / "nowhere"], "no page images of", "ingest its documents here"),
            (["--host", "0.0.0.0"], "others could read", "DOCRAG_SERVE_KEY"),
            (["--host", "192.0.2.1", "--api-key", KEY], "cannot listen", "an address of this machine"),
        ):
            result = docrag(
                "serve", "--index", folder, *(["--port", 0] if "--port" not in flags else []), *flags
            )
            assert result.exit_code in (1, 2)
            assert message in result.stderr, result.stderr
            assert hint in result.stderr
            assert "Traceback" not in result.stderr


def test_slow_and_broken_clients_are_cut_off(serve, monkeypatch):
    server = serve()
    host, port = server.url.removeprefix("http://").split(":")

    def exchange(data: bytes) -> bytes:
        with socket.create_connection((host, int(port)), timeout=40) as client:
            client.sendall(data)
            response = b""
            while chunk := client.recv(65536):
                response += chunk
            return response

    for nonsense in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\nConnection: close\r\n\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 100_000,
    ):
        status = exchange(nonsense).split(b" ", 2)[1:2]
        assert status in ([], [b"400"], [b"421"], [b"404"], [b"414"], [b"431"]), (nonsense[:60], status)
    started = time.monotonic()
    assert exchange(b"GET /healthz HT") == b""  # a head that never ends
    assert 10 < time.monotonic() - started < 25
    assert httpx.get(f"{server.url}/healthz").status_code == 200
    code, err = server.end()
    assert code == 0
    assert "Traceback" not in err


def test_an_upload_keeps_the_image_addresses_of_an_existing_index(serve, folder: Path, tmp_path: Path):
    with Index.open(folder, create=False, settings=Settings(image_base_url="https://pages.example")) as index:
        index.ingest(write_pdf(tmp_path / "bells.pdf", "The bells of the ferry."))
    server = serve("--allow-ingest")
    server.upload(write_pdf(tmp_path / "clock.pdf", CLOCK))
    server.end()
    with Index.open(folder, create=False) as index:
        addresses = [hit.image_url for hit in index.search("ferry clock", k=10)]
    assert len(addresses) == 4
    assert all(address.startswith("https://pages.example/pages/") for address in addresses)


def test_pages_of_a_new_index_name_this_server(tmp_path: Path):
    server = ServerProcess(tmp_path / "new", "--allow-ingest")
    try:
        server.upload(write_pdf(tmp_path / "clock.pdf", CLOCK))
    finally:
        server.end()
    with Index.open(tmp_path / "new", create=False) as index:
        assert index.search("clock", k=1)[0].image_url.startswith(f"{server.url}/pages/")
