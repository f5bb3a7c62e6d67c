"""Two machines that ingest the same pages at the same moment, and one that removes them: the other keeps all.

python -m tests.benchmarks.shared_claims [--rounds 20] [--pages 83] [--delay 15] [--json]

Each round has a server of its own, the client's local mode behind HTTP, and a proxy that delays everything by
15 ms each way. Two holders write the same pages in batches at the same moment. Then every page must name
both; one of them removes its pages, and all of the other's must still be there.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from docrag.errors import DocragError
from docrag.store.layout import Layout
from docrag.store.requests import PayloadFilter
from docrag.store.server.address import Address
from docrag.store.server.connection import connect
from docrag.store.server.shared import SharedStore
from docrag.store.server.store import ServerStore
from docrag.types import PageRecord
from tests.store.conftest import IMAGE, LATE, TEXT, make_record
from tests.store.engines import FINGERPRINT
from tests.store.fake_qdrant import FakeQdrant
from tests.store.proxy import Proxy

LAYOUT = Layout.for_dims(late=LATE, image=IMAGE, text=TEXT)
BATCH = 8


def main() -> None:
    """Run the rounds and print what became of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--pages", type=int, default=83)
    parser.add_argument("--delay", type=float, default=15, help="milliseconds each way")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    pages = [make_record(number) for number in range(args.pages)]
    started = time.perf_counter()
    totals: Counter[str] = Counter()
    for _ in range(args.rounds):
        totals.update(run(pages, args.delay / 1000))
    summary: dict[str, Any] = {"rounds": args.rounds, "pages": args.rounds * args.pages}
    summary |= {name: totals[name] for name in ("held_by_one", "lost", "errors")}
    summary["seconds"] = round(time.perf_counter() - started, 1)
    print(
        json.dumps(summary) if args.json else "\n".join(f"{key}: {value}" for key, value in summary.items())
    )
    raise SystemExit(bool(totals["held_by_one"] or totals["lost"] or totals["errors"]))


def run(pages: Sequence[PageRecord], delay: float) -> dict[str, int]:
    """Let two machines write pages at once on a new server, and one of them remove its own."""
    outcome = {"held_by_one": 0, "lost": 0, "errors": 0}
    with FakeQdrant() as server, Proxy(int(server.uri.split(":")[2].split("/")[0]), delay) as proxy:
        with ServerStore.create(connect(Address.parse(server.uri)), LAYOUT, FINGERPRINT):
            pass
        machines = [
            SharedStore.of(ServerStore(connect(Address.parse(proxy.uri)), "reports", LAYOUT), name)
            for name in ("one", "other")
        ]
        start = threading.Barrier(len(machines))

        def ingest(machine: SharedStore) -> None:
            start.wait()
            try:
                for first in range(0, len(pages), BATCH):
                    machine.upsert(pages[first : first + BATCH])
            except DocragError:
                outcome["errors"] += 1

        threads = [threading.Thread(target=ingest, args=(machine,)) for machine in machines]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        one, other = machines
        outcome["held_by_one"] = 2 * len(pages) - sum(one.pages_by_holder().values())
        one.delete(PayloadFilter())
        outcome["lost"] = len(pages) - other.count()
        for machine in machines:
            machine.close()
    return outcome


if __name__ == "__main__":
    main()
