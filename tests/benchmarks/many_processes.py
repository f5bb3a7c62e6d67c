"""One index in eight processes at once, whose engine is killed again and again: is every answer right?

    python -m tests.benchmarks.many_processes [--seconds 60] [--kill-every 4] [--seed 0]

Four processes search, one adds and removes files, one asks for the status, one is `docrag serve` with a
client, and one is `docrag mcp`. The process that holds the shard gets a SIGKILL every few seconds. Wrong are:
any error that somebody sees; an answer about the documents that stay, if it differs from that of a single
process; and at the end, an index that differs from one that was made of the same files in peace. Exits with 1
if anything is.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from docrag import Index, Settings, demo
from docrag.operations.stop import stop_engine
from tests.benchmarks import index_users
from tests.benchmarks.index_users import CHANGING, Outcome, Question, Signals, marker, ranking
from tests.ingest.kills import differences, snapshot
from tests.samples import write_pdf

QUERIES = (
    "What do four red flashes mean?",
    "How much did the ferry company earn from catering in 2023?",
    "How often must the cartridge be changed?",
    "Woher kommt die Wärme?",
    "How large is the mean absolute error with forty labels?",
    "Why did the gearbox bearing fail?",
)
MODES = ("late", "cosine")
"""Modes whose scores do not depend on the other pages of the index; bm25 counts in how many a word is."""
START_SECONDS = 180.0
"""How long all processes together may take to be ready."""
END_SECONDS = 120.0
"""How long a process may take to finish its last call."""
SHOWN = 20
"""Differences between the two indexes that are printed."""


@dataclass
class Kills:
    """What became of the processes that held the shard."""

    killed: int = 0
    not_found: int = 0
    """How often none was running when one was to be killed."""


def main() -> None:
    """Run, print what happened, and exit with 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long [60]")
    parser.add_argument("--kill-every", type=float, default=4.0, help="seconds between kills; 0: none [4]")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn by lot [0]")
    args = parser.parse_args()
    os.environ.pop("DOCRAG_IN_PROCESS", None)
    with tempfile.TemporaryDirectory(prefix="docrag-many-") as name:
        wrong = run(Path(name), args.seconds, args.kill_every, args.seed)
    print("nothing is wrong" if not wrong else f"{wrong} violations")
    sys.exit(1 if wrong else 0)


def run(work: Path, seconds: float, kill_every: float, seed: int) -> int:
    """Make the index, let all use it, and check what is left; how much was wrong.

    Args:
        work: An empty folder.
        seconds: How long the index is used.
        kill_every: Seconds between two kills of the engine's process, on average; 0 for none.
        seed: Of all that is drawn by lot.
    """
    stable, changing, index = work / "stable", work / "changing", work / "index"
    shutil.copytree(demo.documents(), stable)
    changing.mkdir()
    write_pdf(changing / "first.pdf", "The first of the files that change.")
    questions = make_index(index, stable, changing)
    print(f"index made, {len(questions)} questions, load {os.getloadavg()[0]:.1f}", flush=True)
    outcomes, kills = use(index, changing, questions, seconds, kill_every, seed)
    for outcome in outcomes:
        report(outcome)
    print(f"engine's process: killed {kills.killed} times, {kills.not_found} times none was running")
    acknowledged = next(outcome.acknowledged for outcome in outcomes if outcome.role == "ingest")
    faults = check_index(index, work, stable, changing, acknowledged)
    stop_engine(Settings(index=str(index)))
    print(*faults[:SHOWN], sep="\n", end="\n" if faults else "")
    if kill_every and not kills.killed:
        faults.append("no process was killed")
    return len(faults) + sum(outcome.violation_count for outcome in outcomes)


def make_index(index: Path, stable: Path, changing: Path) -> list[Question]:
    """Ingest all files, and note what a single process answers."""
    files = tuple(sorted(path.name for path in stable.iterdir()))
    questions = []
    with Index.open(index, settings=Settings(in_process=True)) as opened:
        assert not opened.ingest([stable, changing]).failures
        for question in (Question(query, mode, files) for query in QUERIES for mode in MODES):
            # More than are compared later, so that it is known what comes after the last place.
            expected = ranking(opened.search(**question.options(k=100)))
            assert expected
            questions.append(replace(question, expected=expected))
    return questions


def use(
    index: Path, changing: Path, questions: Sequence[Question], seconds: float, kill_every: float, seed: int
) -> tuple[list[Outcome], Kills]:
    """Let eight processes use the index, and kill the engine's process meanwhile."""
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(8, context) as pool:
        signals = Signals(manager.Event(), manager.Semaphore(0))
        least_pages = len({page_id for question in questions for page_id, _ in question.expected})
        roles: list[Callable[[], Outcome]] = [
            partial(index_users.search_with_one_handle, index, questions, signals, seed),
            partial(index_users.search_with_one_handle, index, questions, signals, seed + 1),
            partial(index_users.search_with_new_handles, index, questions, signals, seed + 2),
            partial(index_users.search_with_new_handles, index, questions, signals, seed + 3),
            partial(index_users.ingest, index, changing, signals, seed),
            partial(index_users.ask_status, index, least_pages, signals),
            partial(index_users.ask_server, index, questions, signals, seed + 4),
            partial(index_users.ask_assistant, index, questions, signals, seed + 5),
        ]
        running = [pool.submit(role) for role in roles]
        try:
            wait_until_started(signals, running)
            kills = kill_engine(index, running, seconds, kill_every, random.Random(seed))
        finally:
            signals.stop.set()
        return [one.result(END_SECONDS) for one in running], kills


def wait_until_started(signals: Signals, running: Sequence[Future[Outcome]]) -> None:
    """Wait until every process is ready; the error of one that cannot begin is raised."""
    deadline = time.monotonic() + START_SECONDS
    waiting = len(running)
    while waiting:
        waiting -= signals.started.acquire(timeout=0.5)
        for one in running:
            if one.done():
                one.result()
        if time.monotonic() > deadline:
            raise TimeoutError(f"{waiting} processes have not begun after {START_SECONDS:.0f} s")


def kill_engine(
    index: Path, running: Sequence[Future[Outcome]], seconds: float, every: float, draw: random.Random
) -> Kills:
    """Kill the engine's process at random moments, until the time is over or a user has failed."""
    kills, end = Kills(), time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not any(one.done() for one in running):
        if not every:
            time.sleep(min(1.0, left))
            continue
        time.sleep(min(left, draw.uniform(0.5, 1.5) * every))
        pid = engine_pid(index)
        if pid is None:
            kills.not_found += 1
            continue
        os.kill(pid, signal.SIGKILL)
        kills.killed += 1
    return kills


def engine_pid(index: Path) -> int | None:
    """The process that holds the shard, which is not started for that; None if none does."""
    from docrag.location.directory import DirectoryLocation

    status = DirectoryLocation(index).process().status()
    return None if status is None else status.pid


def report(outcome: Outcome) -> None:
    """Print what one process did."""
    verdict = f"{outcome.violation_count} violations" if outcome.violation_count else "all right"
    print(f"{outcome.role:<20} {outcome.calls:>6} calls, slowest {outcome.slowest:5.2f} s: {verdict}")
    for violation in outcome.violations:
        print(*[f"    {line}" for line in violation.splitlines()], sep="\n")


def check_index(
    index: Path, work: Path, stable: Path, changing: Path, acknowledged: Sequence[str]
) -> list[str]:
    """What is wrong with the index that is left, as a process sees it that has not used it before."""
    if sorted(str(path) for path in changing.iterdir()) != list(acknowledged):
        return ["the last ingest was not acknowledged, so that the indexes cannot be compared"]
    peaceful = work / "peaceful"
    with Index.open(peaceful, settings=Settings(in_process=True)) as opened:
        assert not opened.ingest([stable, changing]).failures
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        numbers = [int(Path(path).stem.removeprefix(CHANGING)) for path in acknowledged if CHANGING in path]
        faults: list[str] = pool.submit(missing_pages, index, [marker(number) for number in numbers]).result()
        found = pool.submit(snapshot, index, QUERIES).result()
        expected = pool.submit(snapshot, peaceful, QUERIES).result()
    stop_engine(Settings(index=str(peaceful)))
    print(f"at the end: {found.count} pages, {len(found.files)} files")
    return faults + differences(expected, found)


def missing_pages(index: Path, words: Sequence[str]) -> list[str]:
    """Files that changed and are acknowledged, of which a search by their own word finds not every page."""
    faults = []
    with Index.open(index, create=False) as opened:
        for word in words:
            pages = sorted(hit.page for hit in opened.search(word, k=10, mode="text") if word in hit.text)
            if pages != [1, 2, 3, 4]:
                faults.append(f"{word}: pages {pages} are found instead of 1 to 4")
    return faults


if __name__ == "__main__":
    main()
