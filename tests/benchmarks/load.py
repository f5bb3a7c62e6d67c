"""Ask a server as one client and as many, and again while it ingests; one JSON object says what came of it.

python -m tests.benchmarks.load --index DIR [--queries FILE] [--clients 50] [--seconds 60] [--anew]
    [--ingest FOLDER]

A `docrag serve` of its own works on a copy of the index. Clients ask `POST /v1/search` in the default mode,
each its next question as soon as the last is answered, or after --pause seconds; all questions of the file
take turns. They are one process that reads no more of an answer than its status and its length, for it takes
its CPU time from the same cores: `client_cpu_ms` says how much.

What cannot be otherwise: clients without a pause wait in a line. With n of them the mean answer takes n times
the median of one, divided by the ratio of the throughputs (Little's law), so that fifty stay below 12 medians
with a ratio above 4 alone. `clients_of_12_medians` is how many may ask before p95 is 12 times that median,
and `--pause 5` lets each of them read for five seconds before the next question.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count, cycle
from pathlib import Path
from typing import Any

import httpx
import psutil

from docrag.evaluate.qrels import read_queries
from tests.benchmarks.data import data

FEW_SECONDS = 20.0
"""For one client: a hundred questions or more."""
WARM_UP = 3.0
LIMIT = 12.0
"""Medians of one client that p95 of many may be."""
PATIENCE = 120.0
"""Seconds after which an answer counts as an error."""


@dataclass
class Server:
    """A `docrag serve` process."""

    process: psutil.Popen
    port: int

    @property
    def cpu(self) -> float:
        """Seconds of CPU time, without its workers."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    @property
    def memory(self) -> dict[str, int]:
        """MiB: resident, and anonymous alone, without the files of the index that are mapped."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        told = dict(line.split(":", 1) for line in lines)
        return {name: int(told[name].split()[0]) // 1024 for name in ("VmRSS", "RssAnon")}


@dataclass
class Round:
    """What some clients met."""

    clients: int
    seconds: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    lasted: float = 0.0
    server_cpu: float = 0.0
    client_cpu: float = 0.0
    memory: list[dict[str, int]] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.seconds) / self.lasted

    def share(self, share: float) -> float:
        """Milliseconds in which that share of the answers came."""
        return 1000 * sorted(self.seconds)[int(share * len(self.seconds))]

    def as_json(self) -> dict[str, Any]:
        """Figures of the round."""
        asked = max(1, len(self.seconds))
        return {
            "clients": self.clients,
            "answers": len(self.seconds),
            "errors": dict(self.errors),
            "median_ms": round(self.share(0.5), 1),
            "p95_ms": round(self.share(0.95), 1),
            "most_ms": round(1000 * max(self.seconds), 1),
            "answers_a_second": round(self.rate, 2),
            "server_cpu_ms": round(1000 * self.server_cpu / asked, 1),
            "client_cpu_ms": round(1000 * self.client_cpu / asked, 2),
            "memory_mib": dict(zip(("start", "middle", "end"), self.memory, strict=True)),
            "load": [round(part, 2) for part in os.getloadavg()],
        }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--index", type=Path, required=True, help="where the pages are; it is not changed")
    parser.add_argument("--queries", type=Path, help="queries.jsonl [../shared/data/dev/queries.jsonl]")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0, help="for which the many ask")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between answer and next question")
    parser.add_argument("--anew", action="store_true", help="no question twice: the server keeps answers")
    parser.add_argument("--ingest", type=Path, help="ask again while the PDFs of this folder are uploaded")
    args = parser.parse_args()
    asked = read_queries(args.queries or data("dev", "queries.jsonl")).values()
    questions = worded([one.text for one in asked], anew=args.anew)
    before = [round(part, 2) for part in os.getloadavg()]
    with tempfile.TemporaryDirectory() as folder:
        no_sockets = shutil.ignore_patterns(".engine.*")
        copy = Path(shutil.copytree(args.index, Path(folder, "index"), ignore=no_sockets))
        with started(copy, allow_ingest=args.ingest is not None) as server:
            told = asyncio.run(measure(server, questions, args))
    print(json.dumps({"cores": os.cpu_count(), "load_before": before, **told}, indent=1))


@contextmanager
def started(index: Path, *, allow_ingest: bool) -> Iterator[Server]:
    """A server that answers already; it ends with the block."""
    command = [sys.executable, "-m", "docrag", "serve", "--port", "0", "--json", "--index", str(index)]
    flags = ["--allow-ingest"] if allow_ingest else []
    process = psutil.Popen([*command, *flags], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        yield Server(process, int(json.loads(process.stdout.readline())["url"].rpartition(":")[2]))
    finally:
        process.terminate()
        process.wait()


def worded(texts: Sequence[str], *, anew: bool) -> Iterator[bytes]:
    """Requests without end; anew, spaces behind a question make it another one that finds the same."""
    for turn in count():
        for text in texts:
            yield json.dumps({"query": text + " " * turn if anew else text}).encode()


async def measure(server: Server, questions: Iterator[bytes], args: argparse.Namespace) -> dict[str, Any]:
    """All rounds: quiet, and beside an ingest where a folder is given."""
    few = min(FEW_SECONDS, args.seconds)
    told: dict[str, Any] = {}
    await ask(server, questions, 2, WARM_UP, 0.0)
    for name in ("quiet", "ingesting") if args.ingest else ("quiet",):
        async with uploading(server, args.ingest) if name == "ingesting" else nothing() as uploads:
            one = await ask(server, questions, 1, few, 0.0)
            many = await ask(server, questions, args.clients, args.seconds, args.pause)
            told[name] = {"one": one.as_json(), "many": many.as_json(), **compared(one, many), **uploads}
    return told


def compared(one: Round, many: Round) -> dict[str, float]:
    """The ratios that the load is judged by."""
    p95 = many.share(0.95) / one.share(0.5)
    return {
        "throughput_ratio": round(many.rate / one.rate, 2),
        "p95_to_median_of_one": round(p95, 2),
        "clients_of_12_medians": round(many.clients * LIMIT / p95, 1),
    }


async def ask(
    server: Server, questions: Iterator[bytes], clients: int, seconds: float, pause: float
) -> Round:
    """Let some clients ask for a while; those that have asked then are answered still."""
    told, started = Round(clients), time.perf_counter()
    until, cpu = started + seconds, (server.cpu, time.process_time())
    asking = asyncio.gather(*(client(server.port, questions, until, pause, told) for _ in range(clients)))
    told.memory.append(server.memory)
    await asyncio.sleep(seconds / 2)
    told.memory.append(server.memory)
    await asking
    told.memory.append(server.memory)
    told.lasted = time.perf_counter() - started
    told.server_cpu, told.client_cpu = server.cpu - cpu[0], time.process_time() - cpu[1]
    return told


async def client(port: int, questions: Iterator[bytes], until: float, pause: float, told: Round) -> None:
    """Ask one question after another over one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < until:
        body, began = next(questions), time.perf_counter()
        try:
            async with asyncio.timeout(PATIENCE):
                status = await exchange(reader, writer, port, body)
        except (OSError, EOFError, TimeoutError) as error:
            told.errors[repr(error)] += 1
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            continue
        told.seconds.append(time.perf_counter() - began)
        if status != b"200":
            told.errors[status.decode()] += 1
        await asyncio.sleep(pause)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, body: bytes
) -> bytes:
    """Ask one question; the status of the answer, whose rest is read and dropped."""
    head = f"POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    answer = await reader.readuntil(b"\r\n\r\n")
    length = answer.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
    await reader.readexactly(int(length))
    return answer.split(b" ", 2)[1]


@asynccontextmanager
async def nothing() -> AsyncIterator[dict[str, Any]]:
    """No uploads."""
    yield {}


@asynccontextmanager
async def uploading(server: Server, folder: Path) -> AsyncIterator[dict[str, Any]]:
    """Upload the PDFs of a folder again and again, each time as contents that the server has not seen."""
    told: dict[str, Any] = {"uploads": 0, "pages_ingested": 0}
    uploader = asyncio.create_task(_upload(server, sorted(folder.glob("*.pdf")), told))
    try:
        while not told["pages_ingested"] and not uploader.done():
            await asyncio.sleep(0.1)
        yield told
    finally:
        uploader.cancel()
        with suppress(asyncio.CancelledError):
            await uploader


async def _upload(server: Server, pdfs: Sequence[Path], told: dict[str, Any]) -> None:
    """One upload of one file after the other, each waited for."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=PATIENCE) as http:
        for number, pdf in zip(count(), cycle(pdfs)):
            content = pdf.read_bytes() + f"\n% {number}\n".encode()  # after its end: other bytes, same pages
            answer = await http.post("/v1/ingest", files={"files": (pdf.name, content)})
            job, done = answer.raise_for_status().headers["Location"], told["pages_ingested"]
            state: dict[str, Any] = {"end": None}
            while state["end"] is None:
                await asyncio.sleep(0.5)
                state = (await http.get(job)).raise_for_status().json()
                told["pages_ingested"] = done + (state["progress"] or {"pages": 0})["pages"]
            told["uploads"] += 1


if __name__ == "__main__":
    main()
