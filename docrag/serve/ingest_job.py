"""An upload on its way into the index; its events are on disk, where all servers of the index read them."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson

from docrag.errors import StoreError
from docrag.ingest.report import FileReport, IngestEvent, Progress, WaitingForWriter
from docrag.serve.peers import Peers

logger = logging.getLogger(__name__)

JobState = Literal["waiting", "running", "done", "failed", "stopped"]
ENDED: frozenset[JobState] = frozenset({"done", "failed", "stopped"})

Event = tuple[str, dict[str, Any]]
"""Name and content: progress, waiting, file or end."""


@dataclass(slots=True)
class IngestJob:
    """An upload on its way into the index."""

    paths: Sequence[Path]
    refused: Sequence[FileReport] = ()
    """Files that were not accepted, with the reason."""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    state: JobState = "waiting"
    events: list[Event] = field(default_factory=list)
    """The events so far, in order."""
    is_own: bool = True
    """Whether this server works on it; another one does if not."""
    keep: Callable[[Event], None] = lambda event: None
    """Called with every new event."""

    def record(self, event: IngestEvent) -> None:
        """Add an event that an ingest reports."""
        if isinstance(event, WaitingForWriter):
            self._add("waiting", {"for": event.holder})
            return
        file = Path(event.file).name  # the server's folders are its own business
        if isinstance(event, FileReport):
            self._add("file", event.as_json() | {"file": file})
        else:
            self._add("progress", {"pages": event.pages, "known": event.known, "file": file})

    def start(self) -> None:
        """Begin the work; readers take seconds until they report the first page."""
        self.state = "running"
        self.record(Progress(0, 0, str(self.paths[0])))

    def wait_for_server(self) -> None:
        """Say that the work goes on once the Qdrant server answers again."""
        self._add("waiting", {"for": "the Qdrant server", "because": "does not answer"})

    def end(self, state: JobState, **details: Any) -> None:
        """Add the last event."""
        self._add("end", {"state": state, **details})
        self.state = state

    def as_json(self) -> dict[str, Any]:
        """The state of the job, as the API returns it."""
        # Another thread may end the job meanwhile: the events are read once, and they decide.
        state, events = self.state, list(self.events)
        latest = dict(events)
        last_name, last = events[-1] if events else ("", {})
        if "end" in latest:
            state = latest["end"]["state"]
        return {
            "job": self.id,
            "state": state,
            "files": [content for name, content in self.events if name == "file"],
            "waiting_files": [path.name for path in self.paths] if state == "waiting" else [],
            "waiting_for": last["for"] if last_name == "waiting" else None,
            "progress": latest.get("progress"),
            "end": latest.get("end"),
        }

    def _add(self, name: str, content: dict[str, Any]) -> None:
        self.events.append((name, content))
        self.keep((name, content))


class JobFiles:
    """The jobs of all servers of an index, a file each: a header, then a line of JSON for each event.

    Args:
        peers: The servers. The file of a job counts as long as the server that works on it is alive.
    """

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._folder = peers.folder

    def create(self, job: IngestJob) -> None:
        """Write a job, and from now on each of its events.

        Raises:
            StoreError: The folder cannot be written.
        """
        with self._peers.alone():
            server = self._peers.join()
        path = self._path(job.id)
        header = {"server": server, "files": [file.name for file in job.paths]}
        lines = [orjson.dumps(line) + b"\n" for line in (header, *job.events)]
        try:
            path.write_bytes(b"".join(lines))
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror}") from error

        def append(event: Event) -> None:
            try:
                with path.open("ab") as file:
                    file.write(orjson.dumps(event) + b"\n")
            except OSError as error:  # other servers then lag behind; the ingest goes on
                logger.warning("cannot write %s: %s", path, error.strerror)

        job.keep = append

    def read(self, job_id: str) -> IngestJob | None:
        """A job of another server; None if there is none, or its server has ended."""
        try:
            content = self._path(job_id).read_bytes()
        except OSError:
            return None
        try:
            # What is behind the last line break is nothing, or an event of which a part is written.
            header, *events = (orjson.loads(line) for line in content.split(b"\n")[:-1])
        except ValueError:  # the server was killed while it wrote the header
            return None
        if not self._peers.is_alive(header["server"]):
            return None
        job = IngestJob([Path(name) for name in header["files"]], id=job_id, is_own=False)
        job.events = [(name, event) for name, event in events]
        job.state = _state(job.events)
        return job

    def remove(self, job_id: str) -> None:
        """Forget a job."""
        self._path(job_id).unlink(missing_ok=True)

    def forget_dead(self) -> None:
        """Remove what servers that were killed have left."""
        for path in self._folder.glob("*.jsonl"):
            if self.read(path.stem) is None:
                path.unlink(missing_ok=True)

    def _path(self, job_id: str) -> Path:
        return self._folder / f"{job_id}.jsonl"


def _state(events: Sequence[Event]) -> JobState:
    """The state of a job that has these events."""
    latest = dict(events)
    if "end" in latest:
        state: JobState = latest["end"]["state"]
        return state
    return "running" if latest.keys() - {"file"} else "waiting"
