"""Read vectors from a server that gzips its answers as Qdrant does, and export an index from it.

python -m tests.benchmarks.server_read [--pages 200] [--turns 5] [--json]

The server is another process on this machine. It keeps points as the protobuf messages that came in, and
compresses every answer for a client that accepts this, so that what is measured is what the client and the
way to the server cost, and not Qdrant. First, ten pages of 300 x 384 floats are fetched: as qdrant-client
does by default, by its own classes without compression, and as docrag does. Then an archive of so many pages
is imported, and exported again. It exits with 1 if docrag does not fetch vectors 15 times as fast as the
client's defaults, or if the export takes more than twice as long as the import.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from qdrant_client import QdrantClient
from qdrant_client import grpc as proto

from docrag.ingest.manifest import FileRow, Manifest
from docrag.ingest.storage import Storage
from docrag.operations.transfer import export, import_archive
from docrag.store.archive import Archive
from docrag.store.images import PageImages
from docrag.store.layout import Fingerprint, Layout
from docrag.store.server.address import Address
from docrag.store.server.connection import CHANNEL_OPTIONS, connect
from docrag.store.server.store import ServerStore
from docrag.types import PATCHES, POOLED, PageRecord
from tests.benchmarks.server_ingest import address
from tests.store.conftest import make_record
from tests.store.fake_grpc import GZIP_IF_ACCEPTED

FETCHED = 10
ROWS, DIM = 300, 384
LAYOUT = Layout.for_dims(late=DIM, image=12, text=8)
BUILT = Fingerprint({"layout": 1, "late": {"dim": DIM}, "image": {"dim": 12}, "text": {"dim": 8}})
AIMED_RATIO = 15
AIMED_EXPORT = 2


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pages", type=int, default=200, help="exported and imported")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,))
    server.start()
    at, grpc_port = address(ours.recv()), ours.recv()
    report: dict[str, Any] = {"cores": os.cpu_count(), "load": [round(os.getloadavg()[0], 2)]}
    try:
        report |= measure_fetching(at, grpc_port, args.turns)
        report |= measure_moving(at, grpc_port, args.pages)
    finally:
        ours.send("end")
        server.join()
    report["load"].append(round(os.getloadavg()[0], 2))
    print(json.dumps(report) if args.json else "\n".join(f"{name}: {told}" for name, told in report.items()))
    reached = report["times_as_fast"] >= AIMED_RATIO and report["export_to_import"] <= AIMED_EXPORT
    sys.exit(0 if reached else 1)


def measure_fetching(at: Address, grpc_port: int, turns: int) -> dict[str, Any]:
    """Milliseconds until the vectors of ten pages are there, the median of turns that take turns."""
    records = [page(number) for number in range(FETCHED)]
    ids = [record.id for record in records]
    with ServerStore(connect(at, grpc_port=grpc_port), at.collection, LAYOUT) as store:
        store.upsert(records)
        ways: dict[str, Callable[[], Any]] = {
            "client, defaults": fetch_with(straight(at, grpc_port), ids),
            "client, no compression": fetch_with(straight(at, grpc_port, dict(CHANNEL_OPTIONS)), ids),
            "docrag": lambda: store.retrieve(ids, vectors=[PATCHES], payload=()),
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(turns):
            for name, fetch in ways.items():
                started = time.perf_counter()
                found = fetch()
                times[name].append(1000 * (time.perf_counter() - started))
                assert len(found) == FETCHED
        for record, expected in zip(ways["docrag"](), records, strict=True):
            np.testing.assert_array_equal(record.vectors[PATCHES], expected.vectors[PATCHES])
    medians = {name: round(float(np.median(taken)), 1) for name, taken in times.items()}
    ratio = medians["client, defaults"] / medians["docrag"]
    return {"ms_for_ten_pages": medians, "times_as_fast": round(ratio, 1)}


def measure_moving(at: Address, grpc_port: int, pages: int) -> dict[str, Any]:
    """Seconds of an import of an archive, and of an export into another one."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Archive(Path(folder, "first"))
        with closing(storage(at, "filled", grpc_port, Path(folder))) as filled:
            fill(filled, pages)
            export(filled, BUILT, LAYOUT, archive, lambda event: None)
        with closing(storage(at, "imported", grpc_port, Path(folder))) as imported:
            started = time.perf_counter()
            written = import_archive(imported, archive.contents(), archive, lambda event: None)
            import_seconds = time.perf_counter() - started
            assert written.written == pages
            started = time.perf_counter()
            again = Archive(Path(folder, "second"))
            assert export(imported, BUILT, LAYOUT, again, lambda event: None).written == pages
            export_seconds = time.perf_counter() - started
    return {
        "pages": pages,
        "import_seconds": round(import_seconds, 2),
        "export_seconds": round(export_seconds, 2),
        "export_to_import": round(export_seconds / import_seconds, 2),
    }


def page(number: int) -> PageRecord:
    """A page with as many words as one of text has, in numbers that 16 bits hold."""
    record = make_record(number)
    rows = np.random.default_rng(number).normal(size=(ROWS, DIM)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows.astype(np.float16).astype(np.float32)
    content = {"page_content": "A page of text has about three thousand characters. " * 60}
    return replace(
        record,
        vectors={**record.vectors, PATCHES: rows, POOLED: rows[:40]},
        payload={**record.payload, **content},
    )


def fill(storage: Storage, pages: int) -> None:
    """Write pages and their documents."""
    for start in range(0, pages, 16):
        storage.store.upsert([page(number) for number in range(start, min(start + 16, pages))])
    for number in range(0, pages, 5):
        metadata = make_record(number).payload["metadata"]
        document, source = metadata["document_id"], metadata["source"]
        storage.manifest.begin(document, source)
        row = FileRow(source, source, 10, 20, document)
        storage.manifest.finish(document, min(5, pages - number), "", [row])


def storage(at: Address, name: str, grpc_port: int, folder: Path) -> Storage:
    """An index in a collection, with its files."""
    home = folder / name
    home.mkdir()
    connection = connect(replace(at, collection=name), grpc_port=grpc_port)
    store = ServerStore(connection, name, LAYOUT)
    return Storage(store, PageImages(home / "images"), Manifest(home / "manifest.sqlite"))


def straight(at: Address, grpc_port: int, options: dict[str, Any] | None = None) -> QdrantClient:
    """A client as qdrant-client's documentation makes it, but for its timeout of 5 seconds."""
    return QdrantClient(
        at.url,
        grpc_port=grpc_port,
        prefer_grpc=True,
        timeout=60,
        check_compatibility=False,
        grpc_options=options,
    )


def fetch_with(client: QdrantClient, ids: Sequence[str]) -> Callable[[], Any]:
    """Fetch vectors into numpy as one does with the client."""

    def fetch() -> list[Any]:
        found = client.retrieve("pages", list(ids), with_payload=False, with_vectors=[PATCHES])
        return [np.array(point.vector[PATCHES], np.float32) for point in found]

    return fetch


def serve(pipe: Pipe) -> None:
    """Keep points by gRPC until told to end. REST tells the version, and takes the order of payload keys."""
    root = json.dumps({"title": "qdrant - vector search engine", "version": "1.19.0"})
    result = [{"operation_id": 1, "status": "completed"}]
    done = json.dumps({"status": "ok", "time": 0, "result": result})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = (root if self.command == "GET" else done).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing to tell."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    unlimited = ("grpc.max_receive_message_length", -1)
    service = grpc.server(ThreadPoolExecutor(4), options=[unlimited, GZIP_IF_ACCEPTED])
    proto.add_PointsServicer_to_server(Points(), service)
    proto.add_QdrantServicer_to_server(Health(), service)
    proto.add_CollectionsServicer_to_server(Collections(), service)
    port = service.add_insecure_port("127.0.0.1:0")
    service.start()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(http.serve_forever, 0.05)
        pipe.send(http.server_address[1])
        pipe.send(port)
        pipe.recv()
        http.shutdown()
    http.server_close()
    service.stop(0).wait()


DONE = proto.PointsOperationResponse(
    result=proto.UpdateResult(operation_id=1, status=proto.UpdateStatus.Completed)
)


class Health(proto.QdrantServicer):
    """Answers that the server is there."""

    def HealthCheck(self, request: Any, context: Any) -> Any:
        return proto.HealthCheckReply(title="qdrant", version="1.19.0")


class Collections(proto.CollectionsServicer):
    """Collections that nothing describes."""

    def Get(self, request: Any, context: Any) -> Any:
        context.abort(grpc.StatusCode.NOT_FOUND, f"{request.collection_name} not found")


class Points(proto.PointsServicer):
    """Points as they came in, by collection and id; reads give them back."""

    def __init__(self) -> None:
        self._points: dict[str, dict[str, Any]] = {}

    def Upsert(self, request: Any, context: Any) -> Any:
        points = self._points.setdefault(request.collection_name, {})
        points.update({point.id.uuid: point for point in request.points})
        return DONE

    def SetPayload(self, request: Any, context: Any) -> Any:
        return DONE  # an import names the files of each document again, and they are the same here

    def Count(self, request: Any, context: Any) -> Any:
        document = request.filter.must[0].field.match.keyword
        points = self._points.get(request.collection_name, {}).values()
        count = sum(document_of(point) == document for point in points)
        return proto.CountResponse(result=proto.CountResult(count=count))

    def Get(self, request: Any, context: Any) -> Any:
        points = self._points.get(request.collection_name, {})
        found = [points[id.uuid] for id in request.ids if id.uuid in points]
        return proto.GetResponse(result=[answer(point, request) for point in found])

    def Scroll(self, request: Any, context: Any) -> Any:
        points = list(self._points.get(request.collection_name, {}).values())
        start = request.offset.num if request.HasField("offset") else 0
        end = start + request.limit
        following = proto.PointId(num=end) if end < len(points) else None
        chosen = [answer(point, request) for point in points[start:end]]
        return proto.ScrollResponse(result=chosen, next_page_offset=following)


def document_of(point: Any) -> str:
    """The id of a point's document."""
    name: str = point.payload["metadata"].struct_value.fields["document_id"].string_value
    return name


def answer(point: Any, request: Any) -> Any:
    """A point as it is read; of the payload, whole top-level keys."""
    read = proto.RetrievedPoint(id=point.id)
    chosen = {key.partition(".")[0] for key in request.with_payload.include.fields}
    for key in point.payload:
        if request.with_payload.enable or key in chosen:
            read.payload[key].CopyFrom(point.payload[key])
    names = request.with_vectors.include.names
    for name in names:
        stored = point.vectors.vectors.vectors[name]
        # Both messages have the same fields.
        read.vectors.vectors.vectors[name].CopyFrom(proto.VectorOutput.FromString(stored.SerializeToString()))
    return read


if __name__ == "__main__":
    main()
