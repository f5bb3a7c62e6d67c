"""Ingest a folder: pages per second, memory, what a second run costs, and encoding alone as the measure.

python -m tests.benchmarks.ingest [FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from docrag import Index
from docrag.caption import TextLayerCaptioner
from docrag.ingest.pipeline import Pipeline
from docrag.read import ReaderPool, ReadJob, ReadOptions, find_files, sha256
from docrag.store.page_address import PageAddresses
from docrag.types import Page
from tests.benchmarks.data import data

SAMPLE_SECONDS = 0.2
REPEATS = 3
UNCHANGED_NEEDS = (
    "docrag.cli.ingest",
    "docrag.encode.models.minilm",
    "docrag.index.index",
    "docrag.ingest.pipeline",
    "docrag.ingest.sync",
    "docrag.settings",
    "docrag.store.local.store",
)
"""What a run over unchanged files imports, and so the least it can take."""


@dataclass(frozen=True)
class Peak:
    """Resident memory at its highest, in bytes."""

    main: int = 0
    tree: int = 0
    """Of the process and its children; what they share counts for each."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="PDFs and images [../shared/data/dev/pdfs]")
    folder = parser.parse_args().folder or data("dev", "pdfs")
    print(f"{folder}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f} before")
    with tempfile.TemporaryDirectory(prefix="docrag-ingest-") as name:
        index = Path(name) / "index"
        command = [sys.executable, "-m", "docrag", "ingest", str(folder), "--index", str(index), "--json"]
        summary, peak = ingest(command, Path(name) / "report.jsonl")
        pages, seconds = summary["pages"], summary["seconds"]
        waited = summary["encoder_waited_seconds"] / seconds
        whole = pages / seconds
        print(f"ingest: {pages} pages in {seconds:.1f} s, {whole:.2f} pages/s, encoder waited {waited:.1%}")
        print(f"peak RSS: {peak.main >> 20} MiB the main process, {peak.tree >> 20} MiB with its children")
        again, least = second_run(command)
        print(
            f"again, nothing changed: {again:.2f} s; imports {least:.2f} s; difference {again - least:.2f} s"
        )
        alone = encode_alone(folder, index)
        print(f"encoding alone: {alone:.2f} pages/s; ingest reaches {whole / alone:.2f} of it")
    print(f"load {os.getloadavg()[0]:.2f} after")


def ingest(command: Sequence[str], report: Path) -> tuple[dict[str, Any], Peak]:
    """Run an ingest; its summary, and its memory as sampled meanwhile."""
    peak = Peak()
    with report.open("w") as stdout, subprocess.Popen(command, stdout=stdout) as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            main = resident(watched)
            tree = main + sum(map(resident, children(watched)))
            peak = Peak(max(peak.main, main), max(peak.tree, tree))
            time.sleep(SAMPLE_SECONDS)
    lines = report.read_text().splitlines()
    if not lines or "summary" not in (last := json.loads(lines[-1])):
        sys.exit(f"the ingest ended with {process.returncode} and no summary")
    return last["summary"], peak


def children(process: psutil.Process) -> list[psutil.Process]:
    """All processes below one; none where it has ended."""
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def resident(process: psutil.Process) -> int:
    """Bytes of a process in memory, 0 where it has ended."""
    try:
        return process.memory_info().rss
    except psutil.NoSuchProcess:
        return 0


def second_run(command: Sequence[str]) -> tuple[float, float]:
    """Seconds of a run over unchanged files, and of its imports alone: medians, in turns."""
    imports = [sys.executable, "-c", f"import {', '.join(UNCHANGED_NEEDS)}"]
    pairs = [(timed(command), timed(imports)) for _ in range(REPEATS)]
    again, least = zip(*pairs, strict=True)
    return statistics.median(again), statistics.median(least)


def timed(command: Sequence[str]) -> float:
    """Seconds that a command takes; one that says that some files failed has done its work too."""
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def encode_alone(folder: Path, index: Path) -> float:
    """Pages per second of encoding, in an ingest's batches, once pages are read and models loaded."""
    with Index.open(index, create=False) as opened:
        encoders, side = opened._encoders, opened._settings.render_side
    pipeline = Pipeline(encoders, TextLayerCaptioner(), PageAddresses("http://localhost"))
    options = ReadOptions(image_side=max(side, encoders.image_side))
    batches = read(folder, pipeline, options)
    pipeline._encode(batches[0][:1])
    started = time.perf_counter()
    for batch in batches:
        pipeline._encode(batch)
    return sum(map(len, batches)) / (time.perf_counter() - started)


def read(folder: Path, pipeline: Pipeline, options: ReadOptions) -> list[list[Page]]:
    """All pages of a folder, each content once, as the pipeline would batch them."""
    by_content = {sha256(path): path for path in find_files([folder])}
    jobs = [ReadJob(path, id, (str(path),)) for id, path in by_content.items()]
    with ReaderPool(options) as pool:
        batches = [batch.pages for batch, _ in pipeline._batches(pool.read(jobs), defaultdict(list))]
    if not any(batches):
        sys.exit(f"no pages in {folder}")
    return [batch for batch in batches if batch]


if __name__ == "__main__":
    main()
