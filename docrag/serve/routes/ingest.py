"""The JSON API that changes an index: uploads, their progress, and removal. A server must allow it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, File, Header, Request, Response, UploadFile
from fastapi import Path as PathParameter
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from docrag.errors import DocumentError, NotFound, StoreError
from docrag.ingest.report import FileReport
from docrag.serve.errors import RequestRefused
from docrag.serve.ingest_job import IngestJob
from docrag.serve.jobs import Jobs
from docrag.serve.routes.images import DocumentId
from docrag.serve.schemas import BODY_ERRORS, JobResponse, error_schema
from docrag.serve.uploads import safe_name

logger = logging.getLogger(__name__)

JobId = Annotated[str, PathParameter(pattern="^[0-9a-f]{32}$", description="The job of an upload.")]
POLL_SECONDS = 0.2
"""How often the events of a job are looked at for a client that watches it."""
KEEP_ALIVE_SECONDS = 15.0
"""How long an event stream may be silent, so that proxies do not close it."""

router = APIRouter(
    prefix="/v1",
    tags=["ingest"],
    responses={
        **BODY_ERRORS,
        409: error_schema("Documents are being ingested."),
        415: error_schema("No file is a PDF or an image, or the form is not in UTF-8."),
        429: error_schema("Too many uploads are waiting."),
    },
)
read_only_router = APIRouter(prefix="/v1", include_in_schema=False)


@router.post("/ingest", status_code=202)
def upload_documents(
    request: Request,
    response: Response,
    files: Annotated[list[UploadFile], File(description="PDFs and images.", min_length=1)],
) -> JobResponse:
    """Upload documents. The response names the job that adds them to the index."""
    jobs: Jobs = request.app.state.jobs
    max_files = request.app.state.settings.max_files
    if len(files) > max_files:
        message = f"there are {len(files)} files, and at most {max_files} are accepted at a time"
        raise RequestRefused(413, message, "send fewer")
    jobs.require_room()
    paths, refused = [], []
    for file in files:
        name = file.filename or ""
        try:
            paths.append(jobs.uploads.accept(name, file.file))
        except (DocumentError, StoreError) as error:  # if the disk is full, earlier files are still ingested
            logger.info("refused upload %a: %s", safe_name(name, ""), error)
            if file is files[-1] and not paths:
                raise
            refused.append(FileReport(safe_name(name, ""), "failed", 0, error.message, error.hint))
    job = IngestJob(tuple(dict.fromkeys(paths)), refused)
    jobs.submit(job)
    response.headers["Location"] = f"/v1/ingest/{job.id}"
    return JobResponse(**job.as_json())


@router.get("/ingest/{job}")
def get_job(request: Request, job: JobId) -> JobResponse:
    """The state of an upload."""
    return JobResponse(**request.app.state.jobs.get(job).as_json())


@router.get(
    "/ingest/{job}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def stream_job_events(
    request: Request,
    job: JobId,
    last_event_id: Annotated[str, Header(description="Id of the event after which to continue.")] = "",
) -> StreamingResponse:
    """The events of an upload as they happen: `progress`, `waiting`, `file` and finally `end`."""
    jobs: Jobs = request.app.state.jobs
    watched = await run_in_threadpool(jobs.get, job)
    is_number = last_event_id.isdecimal() and len(last_event_id) < 10
    first = int(last_event_id) + 1 if is_number else 0
    stream = _event_stream(jobs, watched, first)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


@router.delete("/documents/{document_id}")
def remove_document(request: Request, document_id: DocumentId) -> dict[str, Any]:
    """Remove a document from the index. Its file is deleted only if it was uploaded.

    Pages that other machines hold in the same collection stay; `held_by` then names these machines.
    """
    removal = request.app.state.jobs.remove_document(document_id)
    held = {"held_by": removal.held_by, "error": removal.reason} if removal.held_by else {}
    return {"pages": removal.pages, **held}


@read_only_router.post("/ingest")
@read_only_router.delete("/documents/{document_id}")
async def refuse_changes() -> None:
    """Refuse to change the index.

    Raises:
        RequestRefused: Always.
    """
    raise RequestRefused(403, "this server is read-only", "start docrag serve with --allow-ingest")


async def _event_stream(jobs: Jobs, job: IngestJob, number: int) -> AsyncIterator[str]:
    """The events of a job as server-sent events, until the job or the server ends.

    Args:
        jobs: The jobs of the server.
        job: The job to watch.
        number: Number of the first event to send, from 0.
    """
    silent_seconds = 0.0
    yield "retry: 2000\n\n"
    while True:
        while number < len(job.events):
            name, content = job.events[number]
            yield f"id: {number}\nevent: {name}\ndata: {json.dumps(content, ensure_ascii=False)}\n\n"
            if name == "end":
                return
            number += 1
            silent_seconds = 0.0
        if jobs.stopping.is_set() and job.state != "running":
            return
        if silent_seconds >= KEEP_ALIVE_SECONDS:
            yield ": keep-alive\n\n"
            silent_seconds = 0.0
        await asyncio.sleep(POLL_SECONDS)
        silent_seconds += POLL_SECONDS
        if not job.is_own:
            try:
                job = await run_in_threadpool(jobs.get, job.id)
            except NotFound:  # its server has ended: the browser asks again, and is told so
                return
