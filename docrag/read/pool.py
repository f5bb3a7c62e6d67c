"""Reads many documents in worker processes, page by page.

`ReaderPool` turns jobs into events, `WorkerProcesses` keeps the processes that do the work (see `worker`).
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from functools import partial
from types import TracebackType
from typing import Any

from docrag.common import spawn
from docrag.errors import DocumentError, PageFailed, UnreadableDocument
from docrag.read import worker
from docrag.read.jobs import (
    Closed,
    DocumentRefused,
    Event,
    Opened,
    PageLost,
    PageRead,
    ReadJob,
    ReadOptions,
    TextLost,
)
from docrag.read.worker import FirstReading, open_document, read_page, recognise_page
from docrag.types import Document

logger = logging.getLogger(__name__)

TASKS_PER_WORKER = 3
"""Tasks submitted for each worker: enough that none is idle, few enough that memory use stays constant."""
_ATTEMPTS = 3
"""How often a task is submitted when the pool itself breaks."""
_PATIENCE = 60.0
"""Seconds beyond the longest timeout after which the workers count as lost."""


class ReaderPool:
    """Worker processes that read documents; a context manager.

    Args:
        options: How documents are read.
        workers: Number of processes; by default two, or one on a machine with one core.
    """

    def __init__(self, options: ReadOptions | None = None, workers: int | None = None) -> None:
        self.options = options or ReadOptions()
        self.workers = max(1, workers if workers is not None else min(2, os.cpu_count() or 1))
        self._processes = WorkerProcesses(self.options, self.workers)

    def __enter__(self) -> ReaderPool:
        """Return the pool; the processes start with the first document."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all worker processes."""
        self._processes.stop()

    def read(self, jobs: Iterable[ReadJob]) -> Generator[Event, None, None]:
        """Read documents; jobs are taken from the iterable as workers become free.

        A job yields `Opened`, then `PageRead` or `PageLost` for every page in any order, then `Closed`; or
        `DocumentRefused` alone. `TextLost` precedes the `PageRead` of a page on which OCR failed. The events
        of several documents may be interleaved.
        """
        return _Reading(self._processes, self.options, self.workers * TASKS_PER_WORKER).run(iter(jobs))


@dataclass(slots=True)
class _OpenDocument:
    """A document whose pages are being read."""

    job: ReadJob
    document: Document
    waiting: deque[int]
    """Numbers of the pages that have not been submitted yet."""
    unfinished: int = 0
    """Pages that have been submitted, but neither read nor lost yet."""


@dataclass(slots=True)
class _Task:
    """A call that runs in a worker, and what to do with its result."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    seconds: float
    settle: Callable[[Future[Any]], Iterator[Event]]
    """Turns the finished future into events."""
    attempts: int = 0


@dataclass(slots=True)
class _Reading:
    """One call of `ReaderPool.read`."""

    processes: WorkerProcesses
    options: ReadOptions
    capacity: int
    """How many tasks are submitted at a time."""
    documents: list[_OpenDocument] = field(default_factory=list)
    """Documents with pages that have not been submitted yet, in the order of their jobs."""
    tasks: dict[Future[Any], _Task] = field(default_factory=dict)

    def run(self, jobs: Iterator[ReadJob]) -> Generator[Event, None, None]:
        """All events of the jobs."""
        patience = max(self.options.page_timeout, self.options.ocr_timeout) + _PATIENCE
        try:
            while self._fill(jobs):
                finished, _ = wait(self.tasks, patience, FIRST_COMPLETED)
                if not finished:
                    logger.warning(
                        "no reader process answered within %g seconds; starting new ones", patience
                    )
                    yield from self._start_over()
                for future in finished:
                    yield from self._finish(future)
        finally:
            # If the caller stops early, nobody needs the running tasks; cancelling them ends their workers.
            for future in self.tasks:
                future.cancel()

    def _fill(self, jobs: Iterator[ReadJob]) -> bool:
        """Submit tasks up to the capacity, pages before further documents; False if everything is done."""
        while len(self.tasks) < self.capacity:
            if self.documents:
                document = self.documents[0]
                self._submit_page(document, document.waiting.popleft())
                if not document.waiting:
                    self.documents.pop(0)
            elif (job := next(jobs, None)) is not None:
                args = (job.path, job.document_id, job.sources)
                self._submit(
                    _Task(open_document, args, self.options.page_timeout, partial(self._opened, job))
                )
            else:
                break
        return bool(self.tasks)

    def _submit(self, task: _Task) -> None:
        task.attempts += 1
        self.tasks[self.processes.submit(task.function, task.args, task.seconds)] = task

    def _submit_page(self, document: _OpenDocument, number: int) -> None:
        document.unfinished += 1
        args = (document.job.path, document.document, number)
        settle = partial(self._read, document, number)
        self._submit(_Task(read_page, args, self.options.page_timeout, settle))

    def _finish(self, future: Future[Any]) -> Iterator[Event]:
        """The events of a finished task; a task that was lost with the whole pool is submitted again."""
        task = self.tasks.pop(future)
        if isinstance(future.exception(), BrokenProcessPool) and task.attempts < _ATTEMPTS:
            logger.debug("submitting a lost task again: %s%r", task.function.__name__, task.args[:1])
            self._submit(task)
        else:
            yield from task.settle(future)

    def _start_over(self) -> Iterator[Event]:
        """Replace workers that no longer answer, and submit their tasks again."""
        tasks = list(self.tasks.values())
        self.tasks = {}
        self.processes.stop()
        for task in tasks:
            lost: Future[Any] = Future()
            lost.set_exception(BrokenProcessPool("the reader processes did not answer"))
            self.tasks[lost] = task
        for future in list(self.tasks):
            yield from self._finish(future)

    def _opened(self, job: ReadJob, future: Future[Any]) -> Iterator[Event]:
        error = future.exception()
        if error is not None:
            refusal = self._refusal(error, job)
            logger.info("document refused: %s", refusal.message)
            yield DocumentRefused(job, refusal)
            return
        document: Document = future.result()
        logger.debug("opened %s: %d pages, %d to skip", job.path, document.total_pages, len(job.skip))
        yield Opened(job, document)
        numbers = deque(n for n in range(1, document.total_pages + 1) if n not in job.skip)
        if numbers:
            self.documents.append(_OpenDocument(job, document, numbers))
        else:
            yield Closed(job)

    def _read(self, document: _OpenDocument, number: int, future: Future[Any]) -> Iterator[Event]:
        job = document.job
        error = future.exception()
        if error is not None:
            reason = _describe(error, self.options.page_timeout)
            logger.info("page %d of %s is lost: %s", number, job.path, reason)
            yield PageLost(job, number, _page_failed("cannot be read", reason, error))
            yield from self._page_done(document)
            return
        first: FirstReading = future.result()
        if first.needs_ocr:
            logger.info("page %d of %s is read by OCR: %s", number, job.path, first.reason)
            settle = partial(self._recognised, document, first)
            self._submit(_Task(recognise_page, (job.path, number), self.options.ocr_timeout, settle))
            return
        if not first.page.words:
            logger.info("page %d of %s has no text, and OCR is not used: %s", number, job.path, first.reason)
        yield PageRead(job, first.page, first.seconds)
        yield from self._page_done(document)

    def _recognised(
        self, document: _OpenDocument, first: FirstReading, future: Future[Any]
    ) -> Iterator[Event]:
        """A page keeps the words of its text layer where OCR fails or finds none."""
        job, page, error = document.job, first.page, future.exception()
        if error is not None:
            reason = _describe(error, self.options.ocr_timeout)
            logger.info("page %d of %s: OCR failed: %s", page.number, job.path, reason)
            yield TextLost(job, page.number, _page_failed("OCR failed", reason, error))
        else:
            words, blocks = future.result()
            logger.debug("page %d of %s: OCR found %d words", page.number, job.path, len(words))
            if words:
                page = replace(page, words=words, blocks=blocks, ocr=True)
        yield PageRead(job, page, first.seconds)
        yield from self._page_done(document)

    def _page_done(self, document: _OpenDocument) -> Iterator[Event]:
        document.unfinished -= 1
        if not document.unfinished and not document.waiting:
            yield Closed(document.job)

    def _refusal(self, error: BaseException, job: ReadJob) -> DocumentError:
        if isinstance(error, DocumentError):
            return error
        reason = _describe(error, self.options.page_timeout)
        return UnreadableDocument(f"{job.path.name} cannot be opened: {reason}")


def _page_failed(what: str, reason: str, error: BaseException) -> PageFailed:
    """The error of a page; whoever reports it adds the number of the page."""
    hint = "allow more with --page-timeout" if isinstance(error, TimeoutError) else ""
    return PageFailed(f"{what}: {reason}", hint)


def _describe(error: BaseException, seconds: float) -> str:
    """Why a task with this timeout failed, in one line."""
    if isinstance(error, DocumentError):
        return error.message
    if isinstance(error, TimeoutError):
        return f"it took longer than {seconds:g} s"
    code = getattr(error, "exitcode", None)
    if code is not None:
        cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"the reader process died ({cause})"
    return str(error) or type(error).__name__


class WorkerProcesses:
    """Worker processes, kept by pebble: a task that crashes or takes too long costs its own worker only.

    Pebble replaces such a worker. When a worker dies between tasks, as it may when memory runs out, the whole
    pool breaks; then a new pool is started.
    """

    def __init__(self, options: ReadOptions, workers: int) -> None:
        self._options = options
        self._workers = workers
        self._pool: Any = None
        self._stopped = threading.Event()
        self._keeper: threading.Thread | None = None

    def submit(self, function: Callable[..., Any], args: tuple[Any, ...], seconds: float) -> Future[Any]:
        """Run a function of an importable module in a worker, for at most `seconds`.

        The future raises what the function raises, TimeoutError, pebble's ProcessExpired if the worker died,
        or BrokenProcessPool if the pool broke; in the last case the call can be submitted again.
        """
        if self._pool is not None and not self._pool.active:
            logger.warning("the reader processes ended unexpectedly; starting new ones")
            self.stop()
        if self._pool is None:
            self._start()
        future: Future[Any] = Future()
        try:
            future = self._pool.schedule(function, args=args, timeout=seconds)
        except RuntimeError as error:  # it broke after the check above
            future.set_exception(BrokenProcessPool(str(error)))
        return future

    def stop(self) -> None:
        """End all workers at once; what was submitted is lost."""
        if self._pool is not None:
            self._pool.stop()
            try:
                self._pool.join()
            except KeyError:  # pebble: a worker ended by itself while it was being stopped
                self._pool.join()
            self._pool = None
        if self._keeper is not None:
            self._stopped.set()
            self._keeper.join()
            self._keeper = None

    def _start(self) -> None:
        """Start the pool in a thread that lives as long as the pool.

        Linux kills a worker when the thread that started it ends (see `worker.start`), and the caller's
        thread may end at any time. Workers also inherit the thread's signal mask: because Ctrl-C is blocked
        in it, no worker dies with a traceback, not even while it is starting.
        """
        logger.debug("starting %d reader processes", self._workers)
        self._stopped.clear()
        started: Future[Any] = Future()
        self._keeper = threading.Thread(
            target=self._keep_alive, args=(started,), name="docrag-readers", daemon=True
        )
        self._keeper.start()
        self._pool = started.result()

    def _keep_alive(self, started: Future[Any]) -> None:
        from pebble import ProcessPool

        context = spawn.context()
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            pool = ProcessPool(
                max_workers=self._workers,
                initializer=worker.start,
                initargs=(self._options, os.getpid()),
                context=context,
            )
            if not pool.active:  # this check starts the processes
                raise BrokenProcessPool("no reader process can be started")
        except (OSError, RuntimeError) as error:
            started.set_exception(error)
            return
        started.set_result(pool)
        self._stopped.wait()
