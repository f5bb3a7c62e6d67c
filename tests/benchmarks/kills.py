"""Kill an ingest of real documents at random moments, run it again, and compare with one left in peace.

    python -m tests.benchmarks.kills --times 20

Each ingest is a process that imports docrag anew: an edit of docrag meanwhile shows as a difference.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

from docrag.evaluate.qrels import read_queries
from tests.benchmarks.data import data
from tests.ingest.kills import Snapshot, deviation, differences, ingest_until_killed, snapshot

SMOKE = ("936c0e2c2e6c8e0c07c51bfaf7fd0a83.pdf", "ULTABEAUTY_2023Q4_EARNINGS.pdf")
DEV = (
    "2023.acl-long.386.pdf",
    "379f44022bb27aa53efd5d322c7b57bf.pdf",
    "FOOTLOCKER_2022_8K_dated_2022-08-19.pdf",
    "e639029d16094ea71d964e2fb953952b.pdf",
)
"""With the two: 116 pages, none of which needs OCR."""
QUESTIONS = 8
SHOWN = 10
"""Differences printed for one kill."""


def main() -> None:
    """Say for each kill what differs, and exit with 1 where anything does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--times", type=int, default=20, help="kills [20]")
    parser.add_argument("--seed", type=int, default=0, help="of the moments [0]")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="docrag-kills-") as name:
        work = Path(name)
        folder, queries = documents(work / "docs"), questions()
        reference = ingest_until_killed(folder, work / "reference" / "index", None)
        expected = snapshot(work / "reference" / "index", queries)
        size = f"{expected.count} pages, {len(expected.files)} files, {len(expected.answers)} rankings"
        print(f"reference: {size}, {reference.seconds:.1f} s", flush=True)
        draw = random.Random(args.seed)
        moments = [draw.uniform(0.2, 1.0) * reference.seconds for _ in range(args.times)]
        outcomes = [attempt(folder, work / "index", moment, queries, expected) for moment in moments]
    wrong, killed = sum(not same for same, _ in outcomes), sum(hit for _, hit in outcomes)
    print(f"{args.times} runs, {killed} of them killed in time: {wrong} differ or left a process")
    sys.exit(1 if wrong else 0)


def documents(folder: Path) -> Path:
    """A folder of copies, one of them twice under two names."""
    folder.mkdir()
    for name in SMOKE:
        shutil.copyfile(data("smoke", "pdfs", name), folder / name)
    for name in DEV:
        shutil.copyfile(data("dev", "pdfs", name), folder / name)
    shutil.copyfile(folder / SMOKE[1], folder / "a copy.pdf")
    return folder


def questions() -> list[str]:
    """Questions about these documents, the same number of each as far as there are some."""
    asked = read_queries(data("dev", "queries.jsonl")).values()
    by_document = [[one.text for one in asked if one.metadata["doc"] == name] for name in (*SMOKE, *DEV)]
    rounds = range(max(map(len, by_document), default=0))
    return [texts[turn] for turn in rounds for texts in by_document if turn < len(texts)][:QUESTIONS]


def attempt(
    folder: Path, index: Path, moment: float, queries: list[str], expected: Snapshot
) -> tuple[bool, bool]:
    """Kill an ingest at a moment and run it to its end; whether all is well, and whether it was killed."""
    killed = ingest_until_killed(folder, index, moment)
    again = ingest_until_killed(folder, index, None)
    found = snapshot(index, queries)
    wrong = differences(expected, found) + [f"left over: {one}" for one in killed.left_over + again.left_over]
    state = f"killed after {moment:5.2f} s" if killed.killed else f"ended before {moment:5.2f} s"
    verdict = f"{len(wrong)} differences" if wrong else "the same"
    print(f"{state}, again {again.seconds:5.2f} s: {verdict}, scores within {deviation(expected, found):.4f}")
    print(*[f"    {line}" for line in wrong[:SHOWN]], sep="\n", end="\n" if wrong else "", flush=True)
    if wrong:  # for a look at it
        shutil.copytree(index, Path(tempfile.mkdtemp(prefix="docrag-differs-")) / "index")
    shutil.rmtree(index)
    return not wrong, killed.killed


if __name__ == "__main__":
    main()
