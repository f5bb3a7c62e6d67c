"""Two machines that ingest into a new index at the same moment: one collection, and every page is found.

python -m tests.benchmarks.first_ingests [--rounds 200] [--delay 15] [--json]

Each round has a server of its own, the client's local mode behind HTTP, and a proxy that delays everything by
15 ms each way. Both machines open the index and ingest a file of their own. Afterwards there must be one
collection with an alias, and a third machine must find every page that was reported as added.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from docrag import Index, Settings
from docrag.errors import DocragError
from tests.samples import APPLE, CLOCK, write_pdf
from tests.store.fake_qdrant import FakeQdrant
from tests.store.proxy import Proxy

TEXTS = {"apple": APPLE, "clock": CLOCK}


@dataclass(slots=True)
class Round:
    """What became of one round."""

    collections: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    """Files that were reported as added and are not found."""
    errors: list[str] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        """Whether both machines ended at one collection with all of their pages."""
        return len(self.collections) == 1 and len(self.added) == 2 and not (self.lost or self.errors)


def main() -> None:
    """Run the rounds and print what became of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--delay", type=float, default=15, help="milliseconds each way")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        rounds = [run(Path(folder) / str(number), args.delay / 1000) for number in range(args.rounds)]
    bad = [one for one in rounds if not one.is_well]
    summary = {
        "rounds": len(rounds),
        "well": len(rounds) - len(bad),
        "split": sum(len(one.collections) != 1 for one in rounds),
        "lost": sum(bool(one.lost) for one in rounds),
        "errors": sorted({error for one in rounds for error in one.errors}),
        "seconds": round(time.perf_counter() - started, 1),
    }
    print(
        json.dumps(summary) if args.json else "\n".join(f"{key}: {value}" for key, value in summary.items())
    )
    raise SystemExit(bool(bad))


def run(folder: Path, delay: float) -> Round:
    """Let two machines begin at once on a new server."""
    outcome = Round()
    with FakeQdrant() as server, Proxy(int(server.uri.split(":")[2].split("/")[0]), delay) as proxy:
        start = threading.Barrier(len(TEXTS))

        def ingest(name: str) -> None:
            file = write_pdf(folder / name / f"{name}.pdf", TEXTS[name])
            settings = Settings(index=proxy.uri, files=str(folder / name), workers=1)
            start.wait()
            try:
                with Index.open(settings=settings) as index:
                    report = index.ingest(file)
            except DocragError as error:
                outcome.errors.append(f"{type(error).__name__}: {error}")
            else:
                outcome.added += [name for file in report.files if file.status == "added"]

        machines = [threading.Thread(target=ingest, args=(name,)) for name in TEXTS]
        for machine in machines:
            machine.start()
        for machine in machines:
            machine.join()
        outcome.collections = sorted(one.name for one in server.db.get_collections().collections)
        outcome.lost = lost(server.uri, outcome.added, folder / "third")
    return outcome


def lost(uri: str, added: list[str], files: Path) -> list[str]:
    """Those of the added files that somebody else does not find."""
    if not added:
        return []
    with Index.open(settings=Settings(index=uri, files=str(files), workers=1), create=False) as index:
        found = {Path(file).stem for document in index.documents() for file in document.files}
    return [name for name in added if name not in found]


if __name__ == "__main__":
    main()
