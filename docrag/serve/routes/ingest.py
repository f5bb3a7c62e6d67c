"""The JSON API that changes an index: uploads, their progress, and removal; for servers that allow it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, File, Header, Request, Response, UploadFile
from fastapi import Path as InPath
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict

from docrag.errors import DocumentError, StoreError
from docrag.ingest.report import FileReport
from docrag.serve.errors import RequestRefused
from docrag.serve.jobs import IngestJob, Jobs
from docrag.serve.routes.images import DocumentId
from docrag.serve.schemas import BODY_ERRORS, ErrorAnswer
from docrag.serve.uploads import safe_name

JobId = Annotated[str, InPath(pattern="^[0-9a-f]{32}$", description="As the upload was answered.")]
LOOK = 0.2
"""Seconds between two looks at a job that is watched."""
ALIVE = 15.0
"""Seconds after which a silent stream says that it is alive, for proxies."""

router = APIRouter(
    prefix="/v1",
    tags=["ingest"],
    responses={
        **BODY_ERRORS,
        409: {"model": ErrorAnswer, "description": "Documents are being ingested."},
        415: {"model": ErrorAnswer, "description": "No file is a PDF or an image."},
        429: {"model": ErrorAnswer, "description": "Too many uploads wait."},
    },
)
refusing = APIRouter(prefix="/v1", include_in_schema=False)


class JobAnswer(BaseModel):
    """An upload on its way into the index."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "job": "0" * 32,
                    "state": "running",
                    "files": [{"file": "a.pdf", "status": "added", "pages": 12, "error": None}],
                    "waiting_files": [],
                    "progress": {"pages": 12, "known": 40, "file": "b.pdf"},
                    "end": None,
                }
            ]
        }
    )

    job: str
    state: str
    files: list[dict[str, Any]]
    """What became of each file, as `docrag ingest --json` tells it."""
    waiting_files: list[str]
    progress: dict[str, Any] | None
    end: dict[str, Any] | None


@router.post("/ingest", status_code=202)
def ingest(
    request: Request,
    answer: Response,
    files: Annotated[list[UploadFile], File(description="PDFs and images.", min_length=1)],
) -> JobAnswer:
    """Keep documents and add them to the index; the answer names the job that does it."""
    jobs: Jobs = request.app.state.jobs
    most = request.app.state.settings.most_files
    if len(files) > most:
        raise RequestRefused(413, f"{len(files)} files, and {most} are taken at a time", "send fewer")
    jobs.require_room()
    paths, refused = [], []
    for file in files:
        try:
            paths.append(jobs.uploads.accept(file.filename or "", file.file))
        except (DocumentError, StoreError) as error:  # on a full disk, what was kept before is ingested
            if file is files[-1] and not paths:
                raise
            name = safe_name(file.filename or "", "")
            refused.append(FileReport(name, "failed", 0, error.message, error.hint))
    job = IngestJob(tuple(dict.fromkeys(paths)), refused)
    jobs.submit(job)
    answer.headers["Location"] = f"/v1/ingest/{job.id}"
    return JobAnswer(**job.as_json())


@router.get("/ingest/{job}")
def job_state(request: Request, job: JobId) -> JobAnswer:
    """What became of an upload so far."""
    return JobAnswer(**request.app.state.jobs.get(job).as_json())


@router.get(
    "/ingest/{job}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def job_events(
    request: Request,
    job: JobId,
    last_event_id: Annotated[str, Header(description="Of the event after which to go on.")] = "",
) -> StreamingResponse:
    """What happens, as it happens: events `progress`, `file` and, last, `end`; from the beginning."""
    jobs: Jobs = request.app.state.jobs
    first = int(last_event_id) + 1 if last_event_id.isdecimal() and len(last_event_id) < 10 else 0
    stream = _events(jobs, jobs.get(job), first)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


@router.delete("/documents/{document_id}")
def remove(request: Request, document_id: DocumentId) -> dict[str, int]:
    """Forget a document; a file that was uploaded goes with it, one that was ingested stays where it is."""
    return {"pages": request.app.state.jobs.remove(document_id)}


@refusing.post("/ingest")
@refusing.delete("/documents/{document_id}")
async def not_allowed() -> None:
    """Refuse changes.

    Raises:
        RequestRefused: Always.
    """
    raise RequestRefused(403, "this server only reads", "start docrag serve with --allow-ingest")


async def _events(jobs: Jobs, job: IngestJob, number: int) -> AsyncIterator[str]:
    """The events of a job in the format that browsers read, until it or the server ends."""
    silent = 0.0
    yield "retry: 2000\n\n"
    while True:
        while number < len(job.events):
            name, content = job.events[number]
            yield f"id: {number}\nevent: {name}\ndata: {json.dumps(content, ensure_ascii=False)}\n\n"
            if name == "end":
                return
            number, silent = number + 1, 0.0
        if jobs.stopping.is_set() and job.state != "running":
            return
        if silent >= ALIVE:
            yield ": still there\n\n"
            silent = 0.0
        await asyncio.sleep(LOOK)
        silent += LOOK
