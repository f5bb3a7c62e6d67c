"""`docrag serve` as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx


class ServerProcess:
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

    def search(self, query: str, **options: Any) -> list[dict[str, Any]]:
        """The hits of a search."""
        response = httpx.post(f"{self.url}/v1/search", json={"query": query, **options})
        return response.raise_for_status().json()["hits"]

    def upload(self, path: Path) -> None:
        """Add a document, and wait until it can be found."""
        response = httpx.post(f"{self.url}/v1/ingest", files={"files": (path.name, path.read_bytes())})
        job_url = self.url + response.headers["Location"]
        while True:
            job = httpx.get(job_url).json()
            if job["state"] == "done":
                break
            assert job["state"] in {"waiting", "running"}, job
            time.sleep(0.1)

    def end(self, sent_signal: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Stop the server; its exit code, and what it wrote to stderr."""
        self.process.send_signal(sent_signal)
        _, err = self.process.communicate(timeout=60)
        return self.process.returncode, err
