"""What tests do with uploads."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from tests.samples import write_pdf


def pdf(tmp_path: Path, *texts: str) -> bytes:
    return write_pdf(tmp_path / "made" / "some.pdf", *texts).read_bytes()


def send(client: TestClient, *files: tuple[str, bytes]):
    return client.post("/v1/ingest", files=[("files", file) for file in files])


def ended(client: TestClient, job: str, seconds: float = 60) -> dict:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        told = client.get(f"/v1/ingest/{job}").json()
        if told["end"]:
            return told
        time.sleep(0.05)
    raise AssertionError(told)


def events(text: str) -> list[tuple[str, dict]]:
    """The events of a stream."""
    blocks = [
        dict(line.split(": ", 1) for line in block.splitlines()) for block in text.split("\n\n") if block
    ]
    return [(block["event"], json.loads(block["data"])) for block in blocks if "event" in block]
