"""The application as uvicorn and gunicorn build it, from variables alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from docrag.errors import IndexNotFound, SettingsError
from docrag.serve.app import from_settings
from tests.samples import CLOCK, write_pdf
from tests.serve.conftest import HERE, KEY


def test_the_variables_take_the_place_of_the_options(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DOCRAG_INDEX", str(folder))
    monkeypatch.setenv("DOCRAG_SERVE_KEY", KEY)
    monkeypatch.setenv("DOCRAG_SERVE_ALLOW_HOST", "search.example, docs.example")
    monkeypatch.setenv("DOCRAG_SERVE_ALLOW_INGEST", "true")
    app = from_settings()
    settings = app.state.settings
    assert (settings.allow_ingest, settings.folder, settings.source) == (True, folder, "index")
    headers = {"Authorization": f"Bearer {KEY}"}
    with TestClient(app, base_url="http://docs.example", headers=headers) as client:
        assert client.post("/v1/search", json={"query": "ferry"}).json()["hits"]
        assert client.get("/v1/documents", headers={"Authorization": ""}).status_code == 401
        assert client.get("/healthz", headers={"Host": "other.example"}).status_code == 421


def test_without_variables_it_reads_only_and_for_this_machine_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DOCRAG_INDEX", str(folder))
    with TestClient(from_settings(), base_url=HERE) as client:
        assert client.post("/v1/search", json={"query": "ferry"}).json()["hits"]
        assert client.post("/v1/ingest").status_code == 403
        outside = TestClient(client.app, base_url="http://192.0.2.7:8000")
        refused = outside.get("/v1/documents", headers={"Host": "127.0.0.1:8000"})
        assert refused.status_code == 403
        assert "DOCRAG_SERVE_KEY" in refused.json()["error"]["hint"]


def test_errors_name_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DOCRAG_INDEX", str(tmp_path / "none"))
    with pytest.raises(IndexNotFound):
        from_settings()
    monkeypatch.setenv("DOCRAG_SERVE_HOST", "0.0.0.0")
    with pytest.raises(SettingsError, match="DOCRAG_SERVE_KEY"):
        from_settings()
    monkeypatch.setenv("DOCRAG_SERVE_ALLOW_INGEST", "perhaps")
    with pytest.raises(SettingsError, match="DOCRAG_SERVE_ALLOW_INGEST"):
        from_settings()


@pytest.mark.slow
@pytest.mark.usefixtures("engine_process")
def test_the_workers_of_one_address_know_all_uploads(folder: Path, tmp_path: Path):
    """Each request comes by a connection of its own, which any worker may accept."""
    options = ("--workers", "3", "--no-access-log", "--port", "0")
    command = [sys.executable, "-m", "uvicorn", "--factory", "docrag.serve.app:from_settings", *options]
    environment = {**os.environ, "DOCRAG_INDEX": str(folder), "DOCRAG_SERVE_ALLOW_INGEST": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as server:
        try:
            line = next(line for line in server.stderr if "running on" in line)
            url = line.split("running on ")[1].split()[0]
            for line in server.stderr:
                if "startup complete" in line:
                    break
            content = write_pdf(tmp_path / "clock.pdf", CLOCK).read_bytes()
            accepted = httpx.post(f"{url}/v1/ingest", files={"files": ("clock.pdf", content)}, timeout=60)
            job = accepted.json()["job"]
            with httpx.stream("GET", f"{url}/v1/ingest/{job}/events", timeout=60) as stream:
                assert json.loads([*stream.iter_lines()][-2].removeprefix("data: "))["state"] == "done"
            runs = set()
            for _ in range(60):
                runs.add(httpx.get(f"{url}/healthz").json()["run"])
                assert httpx.get(f"{url}/v1/ingest/{job}").json()["state"] == "done"
                hits = httpx.post(f"{url}/v1/search", json={"query": "pendulum", "k": 1}).json()["hits"]
                assert Path(hits[0]["file"]).name == "clock.pdf"
            assert len(runs) > 1
        finally:
            server.terminate()
