"""What tests do with uploads."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from httpx import Response

from tests.samples import write_pdf


def make_pdf(tmp_path: Path, *texts: str) -> bytes:
    """A PDF with a page for each text."""
    return write_pdf(tmp_path / "made" / "some.pdf", *texts).read_bytes()


def upload(client: TestClient, *files: tuple[str, bytes]) -> Response:
    """Upload files, given by name and content."""
    return client.post("/v1/ingest", files=[("files", file) for file in files])


def wait_for_job(client: TestClient, job_id: str, seconds: float = 60) -> dict[str, Any]:
    """Wait until a job has ended; its state as the API returns it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        job = client.get(f"/v1/ingest/{job_id}").json()
        if job["end"]:
            return job
        time.sleep(0.05)
    raise AssertionError(job)


def parse_events(stream: str) -> list[tuple[str, dict[str, Any]]]:
    """Name and content of the events of a stream."""
    blocks = [
        dict(line.split(": ", 1) for line in block.splitlines()) for block in stream.split("\n\n") if block
    ]
    return [(block["event"], json.loads(block["data"])) for block in blocks if "event" in block]
