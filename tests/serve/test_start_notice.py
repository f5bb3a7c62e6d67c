"""What `docrag serve` says at its start where pages name another server, and that its command mends it."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from docrag import Index
from docrag.cli import app
from docrag.serve.settings import ServeSettings
from docrag.serve.start_notice import is_own_address, other_address_notice
from tests.samples import CLOCK, write_pdf
from tests.serve.conftest import KEY
from tests.serve.processes import ServerProcess
from tests.store.fake_qdrant import FakeQdrant

OWN = "http://127.0.0.1:8765"
LOCAL = ServeSettings(port=8765)
OPEN = ServeSettings(host="0.0.0.0", port=8765, api_key=KEY, allowed_hosts=("search.example",))


@pytest.mark.parametrize(
    ("settings", "base_url", "own"),
    [
        (LOCAL, "http://127.0.0.1:8765", True),
        (LOCAL, "http://localhost:8765", True),
        (LOCAL, "http://[::1]:8765", True),
        (LOCAL, "http://127.0.0.1:8000", False),
        (LOCAL, "http://127.0.0.1", False),
        (LOCAL, "http://192.0.2.1:8765", False),
        (LOCAL, "http://pages.example:8765", False),
        (OPEN, "http://192.0.2.1:8765", True),
        (OPEN, "http://192.0.2.1:8000", False),
        (OPEN, "https://search.example/docrag", True),
        (OPEN, "https://Search.Example:8443", True),
        (OPEN, "https://pages.example", False),
    ],
)
def test_an_address_is_own_if_requests_to_it_come_here(settings: ServeSettings, base_url: str, own: bool):
    assert is_own_address(base_url, OWN, settings) is own
    assert bool(other_address_notice("my index", base_url, OWN, settings)) is not own


def test_the_notice_holds_the_command_and_nothing_is_said_of_an_index_without_pages():
    notice = other_address_notice("my index", "http://127.0.0.1:8000", OWN, LOCAL)
    assert notice.startswith("the pages of this index name http://127.0.0.1:8000 as the address")
    assert notice.endswith(f": docrag ingest --index 'my index' --image-base-url {OWN}")
    assert other_address_notice("my index", "", OWN, LOCAL) == ""


@pytest.mark.slow
def test_the_command_of_the_notice_mends_the_addresses(serve, folder: Path):
    server = serve()
    port = server.url.rpartition(":")[2]
    code, err = server.end()
    assert code == 0
    [note] = [line for line in err.splitlines() if line.startswith("note: ")]
    command = shlex.split(note.rpartition(": ")[2])
    assert command[0] == "docrag"
    done = CliRunner().invoke(app, command[1:])
    assert (done.exit_code, "2 pages now have the new URL" in done.stdout) == (0, True)
    with Index.open(folder, create=False) as index:
        assert index.status().image_base_url == server.url
        assert {hit.image_url.partition("/pages/index/")[0] for hit in index.search("ferry")} == {server.url}
    again = ServerProcess(folder, "--port", port)
    code, err = again.end()
    assert (code, "note:" in err) == (0, False)


@pytest.mark.slow
def test_pages_of_a_new_collection_name_the_server_that_makes_it(tmp_path: Path):
    with FakeQdrant() as qdrant:
        server = ServerProcess(qdrant.uri, "--allow-ingest", DOCRAG_FILES=str(tmp_path / "files"))
        try:
            server.upload(write_pdf(tmp_path / "clock.pdf", CLOCK))
        finally:
            _, err = server.end()
        [point] = qdrant.db.scroll("reports")[0]
    assert point.payload["image_url"].startswith(f"{server.url}/pages/reports/")
    assert "note:" not in err
