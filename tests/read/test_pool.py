import itertools
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import psutil  # type: ignore[import-untyped, unused-ignore]
import pytest

from docrag.read import (
    Closed,
    DocumentRefused,
    Opened,
    PageLost,
    PageRead,
    ReaderPool,
    ReadJob,
    ReadOptions,
    TextLost,
)
from docrag.read.files import find_files

TEXT = "Eleven words are enough that nobody takes this page for a scan. "


def workers() -> list[psutil.Process]:
    """Worker processes of this process, without multiprocessing's resource tracker."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "resource_tracker" not in " ".join(child.cmdline())]


def read_all(jobs: Iterable[ReadJob], options: ReadOptions | None = None, count: int = 1) -> list[Any]:
    with ReaderPool(options, count) as pool:
        return list(pool.read(jobs))


def of(events: list[Any], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


@pytest.fixture
def helper(tmp_path, monkeypatch):
    """Replaces `read_page` by a function in a module that workers can import, which first runs some code."""

    def install(body):
        module = tmp_path / "read_page_helper.py"
        module.write_text(
            "import os, signal, time\nfrom docrag.read import worker\n"
            "def read_page(path, document, number):\n"
            f"{textwrap.indent(body, '    ')}\n"
            "    return worker.read_page(path, document, number)\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "read_page_helper", raising=False)
        monkeypatch.setattr("docrag.read.pool.read_page", __import__("read_page_helper").read_page)

    return install


@pytest.mark.slow
def test_a_document_is_opened_read_and_closed(make_pdf, job):
    made = job(make_pdf(TEXT, TEXT + "second", metadata={"title": "A report"}))
    events = read_all([made])
    assert isinstance(events[0], Opened)
    assert isinstance(events[-1], Closed)
    assert (events[0].document.total_pages, events[0].document.title) == (2, "A report")
    pages = {event.page.number: event.page for event in events[1:-1]}
    assert sorted(pages) == [1, 2]
    assert pages[2].text.split()[-1] == "second"
    assert (pages[1].width, pages[1].height, pages[1].ocr) == (500, 800, False)
    assert pages[1].document == events[0].document
    assert pages[1].image.jpeg[:2] == b"\xff\xd8"
    assert (pages[1].image.width, pages[1].image.height) == (800, 1280)
    assert not workers()


@pytest.mark.slow
def test_a_page_keeps_its_picture_where_ocr_takes_too_long(make_pdf, job):
    def draw(page):
        page.draw_rect((0, 0, 500, 400), fill=(0, 0, 0.2))

    events = read_all([job(make_pdf(draw))], ReadOptions(ocr_timeout=0.01))
    assert [type(event) for event in events] == [Opened, TextLost, PageRead, Closed]
    assert "longer than 0.01 s" in events[1].error.message
    assert events[2].page.image is not None
    assert not events[2].page.ocr


@pytest.mark.slow
def test_a_stuck_page_costs_only_itself(make_pdf, job, helper, caplog):
    helper("if number == 2:\n    time.sleep(600)")
    path = make_pdf(TEXT, TEXT, TEXT)
    begun = time.monotonic()
    with caplog.at_level(logging.INFO, logger="docrag.read"):
        events = read_all([job(path)], ReadOptions(page_timeout=1.5))
    assert {event.page.number for event in of(events, PageRead)} == {1, 3}
    [lost] = of(events, PageLost)
    assert lost.number == 2
    assert "longer than 1.5 s" in lost.error.message
    assert f"page 2 of {path} is lost: it took longer than 1.5 s" in caplog.messages
    assert time.monotonic() - begun < 30
    assert not workers()


@pytest.mark.slow
def test_a_real_page_that_hangs_in_c_code_costs_only_itself(real, job):
    skip = frozenset(range(5, 16)) - {12}
    events = read_all([job(real("nasty/test_2548.pdf"), skip)], ReadOptions(page_timeout=2), 2)
    lost = {event.number for event in of(events, PageLost)}
    assert lost >= {1, 2, 3}
    assert lost | {event.page.number for event in of(events, PageRead)} == {1, 2, 3, 4, 12}
    assert isinstance(events[-1], Closed)
    assert not workers()


@pytest.mark.slow
def test_a_crash_costs_only_its_page(make_pdf, job, helper):
    helper("if number == 2:\n    os.kill(os.getpid(), signal.SIGSEGV)")
    events = read_all([job(make_pdf(TEXT, TEXT, TEXT)), job(make_pdf(TEXT, name="b.pdf"))])
    [lost] = of(events, PageLost)
    assert lost.number == 2
    assert "SIGSEGV" in lost.error.message
    assert len(of(events, PageRead)) == 3
    assert len(of(events, Closed)) == 2


@pytest.mark.slow
def test_a_worker_that_dies_between_tasks_costs_nothing(make_pdf, job, monkeypatch):
    monkeypatch.setattr("docrag.read.pool._PATIENCE", 5)  # if pebble does not notice, the pool does
    paths = [make_pdf(TEXT, name=f"{n}.pdf") for n in range(30)]

    def kill_first() -> Iterator[ReadJob]:
        for n, path in enumerate(paths):
            if n == 10:
                for child in workers():
                    child.kill()
            yield job(path)

    events = read_all(kill_first(), ReadOptions(page_timeout=5, ocr_timeout=5))
    # If the worker was busy after all, the document that it was reading is lost, with the reason.
    assert len(of(events, Closed)) + len(of(events, DocumentRefused)) == 30
    assert len(of(events, PageLost)) + len(of(events, DocumentRefused)) <= 1


@pytest.mark.slow
def test_errors_of_a_page_come_with_their_reason(make_pdf, job, helper):
    helper("if number == 1:\n    raise worker.PageFailed('page 1 is odd')")
    [lost] = of(read_all([job(make_pdf(TEXT, TEXT))]), PageLost)
    assert lost.error.message == "cannot be read: page 1 is odd"


@pytest.mark.slow
def test_jobs_are_taken_as_they_are_needed(make_pdf, job):
    made = job(make_pdf(*[TEXT] * 4))
    taken: list[int] = []

    def endless() -> Iterator[ReadJob]:
        for n in itertools.count():
            taken.append(n)
            yield made

    with ReaderPool(workers=1) as pool:
        events = pool.read(endless())
        for _ in range(20):
            next(events)
        assert len(taken) < 15
        events.close()
        begun = time.monotonic()
    assert time.monotonic() - begun < 5
    assert not workers()


@pytest.mark.slow
def test_an_exception_of_the_caller_ends_the_workers(make_pdf, job, helper):
    helper("time.sleep(600)")
    begun = time.monotonic()

    def fail_early() -> None:
        with ReaderPool(workers=2) as pool:
            for _ in pool.read([job(make_pdf(TEXT, TEXT))]):
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_early()
    assert time.monotonic() - begun < 20
    assert not workers()


@pytest.mark.slow
def test_a_pool_can_read_again_even_after_its_processes_ended(make_pdf, job, caplog):
    made = job(make_pdf(TEXT))
    with ReaderPool(workers=1) as pool:
        assert len(list(pool.read([made]))) == len(list(pool.read([made]))) == 3
        assert "ended unexpectedly" not in caplog.text
        pool._processes._pool.stop()
        assert len(list(pool.read([made]))) == 3
    assert "the reader processes ended unexpectedly; starting new ones" in caplog.messages
    assert not workers()


def test_nothing_to_read_starts_nothing():
    assert read_all([]) == []
    assert not workers()


@pytest.mark.slow
def test_every_nasty_file_ends_with_closed_or_a_reason(real, job):
    # Most pages of this one hang in C code; one is enough, since another test reads more of them.
    skipped = {"test_2548.pdf": frozenset(range(2, 16))}
    jobs = [job(path, skipped.get(path.name, frozenset())) for path in find_files([real("nasty")])]
    options = ReadOptions(page_timeout=3, passwords=("view", "SªSL\u00adprep"))
    events = read_all(jobs, options, 2)
    ends = Counter(event.job for event in events if isinstance(event, Closed | DocumentRefused))
    assert ends == Counter(jobs)
    for event in of(events, DocumentRefused) + of(events, PageLost):
        assert event.error.message
        assert "\n" not in event.error.message
    for opened in of(events, Opened):
        pages = [
            event for event in events if isinstance(event, PageRead | PageLost) and event.job == opened.job
        ]
        assert len(pages) == opened.document.total_pages - len(opened.job.skip)
    for read in of(events, PageRead):
        assert all(0 <= edge <= 1 for word in read.page.words for edge in word.box)
    lost = of(events, PageLost)
    late = {event.job.path.name for event in lost if "longer than 3 s" in event.error.message}
    assert {event.job.path.name for event in lost} - late == {"Pages-tree-refs.pdf"}
    assert "test_2548.pdf" in late  # others may be too on a busy machine
    assert not workers()


@pytest.mark.slow
def test_a_script_needs_no_main_guard_since_workers_do_not_run_it(make_pdf, tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "from pathlib import Path\nfrom docrag.read import *\nprint('run')\n"
        f"job = ReadJob(Path({str(make_pdf(TEXT))!r}), '0' * 64, ('a',))\n"
        "with ReaderPool(workers=2) as pool:\n"
        "    print(*[type(event).__name__ for event in pool.read([job])])\n"
        "print(__import__('__main__').job is job)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.split() == ["run", "Opened", "PageRead", "Closed", "True"]
    assert done.stderr == ""


def test_ctrl_c_brings_no_tracebacks_of_workers(make_pdf, tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import signal\nfrom pathlib import Path\nfrom docrag.read import *\n"
        "if __name__ == '__main__':\n"
        # A shell that runs the tests in the background starts them with Ctrl-C ignored.
        "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"    job = ReadJob(Path({str(make_pdf(*[TEXT] * 500))!r}), '0' * 64, ('a',))\n"
        "    with ReaderPool(workers=2) as pool:\n"
        "        print('begun', flush=True)\n"
        "        for event in pool.read([job]):\n"
        "            pass\n"
    )
    command = [sys.executable, script]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "begun\n"
        time.sleep(0.15)  # the workers are starting: their imports take much longer
        os.killpg(parent.pid, signal.SIGINT)
        _, errors = parent.communicate(timeout=30)
    assert errors.count("Traceback") == 1
    assert errors.rstrip().endswith("KeyboardInterrupt")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a stuck worker ends by its own timer, later")
def test_no_worker_outlives_a_parent_that_was_killed(real, tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom docrag.read import *\n"
        "if __name__ == '__main__':\n"
        f"    job = ReadJob(Path({str(real('nasty/test_2548.pdf'))!r}), '0' * 64, ('a',))\n"
        "    with ReaderPool(ReadOptions(page_timeout=300), 2) as pool:\n"
        "        for event in pool.read([job]):\n"
        "            print('opened', flush=True)\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "opened\n"
        time.sleep(1.5)  # pages 1 and 2 are being rendered, which never ends
        children = psutil.Process(parent.pid).children(recursive=True)
        assert len(children) >= 2
        parent.kill()
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive
