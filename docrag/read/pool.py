"""Reading many documents in worker processes, page by page."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from functools import partial
from types import TracebackType
from typing import Any

from docrag.errors import DocumentError, PageFailed, UnreadableDocument
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
from docrag.read.processes import Processes
from docrag.read.worker import FirstReading, open_document, read_page, recognise_page
from docrag.types import Document

TASKS_PER_WORKER = 3
"""Tasks in flight for each worker: enough that none waits, few enough that memory stays flat."""
_ATTEMPTS = 3
_PATIENCE = 60.0


@dataclass(slots=True)
class _Progress:
    """A document that is being read."""

    job: ReadJob
    document: Document
    numbers: deque[int]
    """Pages that were not submitted yet."""
    under_way: int = 0


@dataclass(slots=True)
class _Task:
    """Something that a worker does, and what becomes of it."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    seconds: float
    settle: Callable[[Future[Any]], Iterator[Event]]
    attempts: int = 0


class ReaderPool:
    """Worker processes that read documents; a context manager.

    Args:
        options: How documents are read.
        workers: Number of processes; by default two, or as many as there are cores if that is less.
    """

    def __init__(self, options: ReadOptions | None = None, workers: int | None = None) -> None:
        self.options = options or ReadOptions()
        self.workers = max(1, workers if workers is not None else min(2, os.cpu_count() or 1))
        self._processes = Processes(self.options, self.workers)

    def __enter__(self) -> ReaderPool:
        """The pool; workers start with the first document."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all workers."""
        self._processes.stop()

    def read(self, jobs: Iterable[ReadJob]) -> Generator[Event, None, None]:
        """Read documents; jobs are taken as workers become free.

        For each job comes `Opened`, then `PageRead` or `PageLost` for every page in any order, then `Closed`;
        or `DocumentRefused` alone. `TextLost` comes before the `PageRead` of a page that OCR could not read.
        Several documents may be under way at a time.
        """
        return _Reading(self._processes, self.options, self.workers * TASKS_PER_WORKER).run(iter(jobs))


@dataclass(slots=True)
class _Reading:
    """One call of `ReaderPool.read`."""

    processes: Processes
    options: ReadOptions
    capacity: int
    started: list[_Progress] = field(default_factory=list)
    """Documents with pages that were not submitted yet, in order."""
    tasks: dict[Future[Any], _Task] = field(default_factory=dict)

    def run(self, jobs: Iterator[ReadJob]) -> Generator[Event, None, None]:
        """All events of the jobs."""
        patience = max(self.options.page_timeout, self.options.ocr_timeout) + _PATIENCE
        try:
            while self._fill(jobs):
                done, _ = wait(self.tasks, patience, FIRST_COMPLETED)
                if not done:
                    yield from self._start_over()
                for future in done:
                    yield from self._finish(future)
        finally:
            # Left early: what runs is of no use any more. Cancelling ends the worker.
            for future in self.tasks:
                future.cancel()

    def _fill(self, jobs: Iterator[ReadJob]) -> bool:
        """Give the workers something to do, pages before further documents; False when all is done."""
        while len(self.tasks) < self.capacity:
            if self.started:
                progress = self.started[0]
                self._submit_page(progress, progress.numbers.popleft())
                if not progress.numbers:
                    self.started.pop(0)
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

    def _submit_page(self, progress: _Progress, number: int) -> None:
        progress.under_way += 1
        args = (progress.job.path, progress.document, number)
        self._submit(_Task(read_page, args, self.options.page_timeout, partial(self._read, progress, number)))

    def _finish(self, future: Future[Any]) -> Iterator[Event]:
        """The events that a finished task brings; a task that was lost with the whole pool is tried again."""
        task = self.tasks.pop(future)
        if isinstance(future.exception(), BrokenProcessPool) and task.attempts < _ATTEMPTS:
            self._submit(task)
        else:
            yield from task.settle(future)

    def _start_over(self) -> Iterator[Event]:
        """Nothing came for longer than any task may take: go on with new workers."""
        tasks, self.tasks = self.tasks, {}
        self.processes.stop()
        for task in tasks.values():
            lost: Future[Any] = Future()
            lost.set_exception(BrokenProcessPool("the workers did not answer"))
            self.tasks[lost] = task
        for future in list(self.tasks):
            yield from self._finish(future)

    def _opened(self, job: ReadJob, future: Future[Any]) -> Iterator[Event]:
        error = future.exception()
        if error is not None:
            yield DocumentRefused(job, self._refusal(error, job))
            return
        document: Document = future.result()
        yield Opened(job, document)
        numbers = deque(n for n in range(1, document.total_pages + 1) if n not in job.skip)
        if numbers:
            self.started.append(_Progress(job, document, numbers))
        else:
            yield Closed(job)

    def _read(self, progress: _Progress, number: int, future: Future[Any]) -> Iterator[Event]:
        error = future.exception()
        if error is not None:
            yield PageLost(progress.job, number, self._loss(error, self.options.page_timeout, "it"))
            yield from self._settled(progress)
            return
        first: FirstReading = future.result()
        if first.needs_ocr:
            args = (progress.job.path, number)
            settle = partial(self._recognised, progress, first)
            self._submit(_Task(recognise_page, args, self.options.ocr_timeout, settle))
        else:
            yield PageRead(progress.job, first.page, first.seconds)
            yield from self._settled(progress)

    def _recognised(self, progress: _Progress, first: FirstReading, future: Future[Any]) -> Iterator[Event]:
        """A page keeps the words that it has where OCR fails or finds none."""
        page, error = first.page, future.exception()
        if error is not None:
            yield TextLost(progress.job, page.number, self._loss(error, self.options.ocr_timeout, "its text"))
        else:
            words, blocks = future.result()
            if words:
                page = replace(page, words=words, blocks=blocks, ocr=True)
        yield PageRead(progress.job, page, first.seconds)
        yield from self._settled(progress)

    def _settled(self, progress: _Progress) -> Iterator[Event]:
        """One page less to wait for."""
        progress.under_way -= 1
        if not progress.under_way and not progress.numbers:
            yield Closed(progress.job)

    def _refusal(self, error: BaseException, job: ReadJob) -> DocumentError:
        if isinstance(error, DocumentError):
            return error
        reason = _in_words(error, self.options.page_timeout)
        return UnreadableDocument(f"{job.path.name} cannot be opened: {reason}")

    def _loss(self, error: BaseException, seconds: float, what: str) -> PageFailed:
        """Why a page, or its text, was lost; which page stands beside it."""
        hint = "allow more with --page-timeout" if isinstance(error, TimeoutError) else ""
        return PageFailed(f"{what} cannot be read: {_in_words(error, seconds)}", hint)


def _in_words(error: BaseException, seconds: float) -> str:
    """What befell a task, in one line."""
    if isinstance(error, DocumentError):
        return error.message
    if isinstance(error, TimeoutError):
        return f"it took longer than {seconds:g} s"
    code = getattr(error, "exitcode", None)
    if code is not None:
        return f"the reader process died ({signal.Signals(-code).name if code < 0 else f'exit code {code}'})"
    return str(error) or type(error).__name__
