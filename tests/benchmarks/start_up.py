"""Time short commands as whole processes, in pairs against another checkout.

python -m tests.benchmarks.start_up [--baseline PATH] [--index DIR] [--repeat 15] [--json]

Times are those that a person waits, from the start of Python to its end. The checkouts take turns, so that
what else the machine does meets both; a pair of runs gives one ratio. The first run of each command is not
counted: it fills the caches of the disk and, for a search, starts what answers the later ones. Memory below
about 15 MiB reads as that much: a process counts from what the one that started it held.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parents[2]
QUESTION = "Which pump must be serviced first?"
COMMANDS = {
    "python": ["-c", "pass"],
    "import": ["-c", "from docrag import Index"],
    "version": ["-m", "docrag", "--version"],
    "help": ["-m", "docrag", "--help"],
}


@dataclass(frozen=True)
class Run:
    """What one process took."""

    wall: float
    """Seconds from start to end."""
    cpu: float
    """Seconds of the process and of the children that it waited for."""
    peak: int
    """Bytes of resident memory at its highest."""


@dataclass
class Runs:
    """Runs of one command in one checkout."""

    all: list[Run] = field(default_factory=list)

    def report(self) -> dict[str, float]:
        """Minimum and median of the seconds, the CPU time and the memory."""
        walls = [run.wall for run in self.all]
        return {
            "seconds": round(statistics.median(walls), 3),
            "least": round(min(walls), 3),
            "cpu": round(statistics.median(run.cpu for run in self.all), 3),
            "peak_mib": round(statistics.median(run.peak for run in self.all) / 2**20, 1),
        }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--baseline", type=Path, help="another checkout, whose ratio to this one is printed")
    parser.add_argument("--index", type=Path, help="an index to search too")
    parser.add_argument("--repeat", type=int, default=15, help="runs of each command in each checkout")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    commands = dict(COMMANDS)
    if args.index:
        search = ["-m", "docrag", "search", QUESTION, "--index", str(args.index.resolve())]
        commands |= {"search": search, "search --json": [*search, "--json"]}
    checkouts = [HERE] + ([args.baseline.resolve()] if args.baseline else [])
    before = os.getloadavg()[0]
    measured = {name: measure(command, checkouts, args.repeat) for name, command in commands.items()}
    report: dict[str, Any] = {
        "cores": os.cpu_count(),
        "load": [round(before, 2), round(os.getloadavg()[0], 2)],
        "commands": {name: compare(runs) for name, runs in measured.items()},
    }
    if args.json:
        print(json.dumps(report))
        return
    print(f"{report['cores']} cores, load {report['load'][0]} before and {report['load'][1]} after")
    for name, figures in report["commands"].items():
        print(name)
        for key, value in figures.items():
            print(f"  {key:<14} {value}")


def measure(arguments: Sequence[str], checkouts: Sequence[Path], repeat: int) -> list[Runs]:
    """Run a command so many times in each checkout, by turns.

    Raises:
        RuntimeError: The command fails.
    """
    runs = [Runs() for _ in checkouts]
    for turn in range(repeat + 1):
        for checkout, kept in zip(checkouts, runs, strict=True):
            run = run_once(arguments, checkout)
            if turn > 0:
                kept.all.append(run)
    return runs


def run_once(arguments: Sequence[str], checkout: Path) -> Run:
    """Run Python with these arguments, on the docrag of a checkout.

    Raises:
        RuntimeError: It fails.
    """
    environment = {**os.environ, "PYTHONPATH": f"{checkout}:{checkout / 'integrations'}"}
    silent = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    # `-P` keeps the working directory, which may be a checkout as well, out of the path.
    command = [sys.executable, "-P", *arguments]
    started = time.perf_counter()
    process = os.posix_spawn(sys.executable, command, environment, file_actions=silent)
    _, status, usage = os.wait4(process, 0)
    wall = time.perf_counter() - started
    if status != 0:
        raise RuntimeError(f"{' '.join(command)} failed in {checkout}")
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def compare(runs: Sequence[Runs]) -> dict[str, Any]:
    """The figures of this checkout; if there is another, its figures, and how much faster this one is."""
    figures: dict[str, Any] = {"this": runs[0].report()}
    if len(runs) > 1:
        pairs = zip(runs[1].all, runs[0].all, strict=True)
        ratio = statistics.median(other.wall / this.wall for other, this in pairs)
        figures |= {"baseline": runs[1].report(), "times_as_fast": round(ratio, 2)}
    return figures


if __name__ == "__main__":
    main()
