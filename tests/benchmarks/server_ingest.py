"""Send ready vectors to a server that only reads them: pages a second by REST and by gRPC, in one run.

python -m tests.benchmarks.server_ingest [--pages 100] [--turns 3] [--json]

The server is another process on this machine that takes requests in whole, keeps their sizes and says that
they are written, so that what is measured is what docrag and the way to the server cost, and not Qdrant. The
straight ways give qdrant-client its own models with lists of floats, four pages a request by REST (10 MB) and
sixteen by gRPC (8 MB). What docrag sends by gRPC includes the payloads, which it sends again by REST so that
their keys have an order.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection as Pipe
from typing import Any

import grpc
import numpy as np
from qdrant_client import QdrantClient
from qdrant_client import grpc as proto

from docrag.store.layout import Layout
from docrag.store.server.address import Address
from docrag.store.server.connection import connect
from docrag.store.server.store import ServerStore
from docrag.types import PageRecord
from tests.benchmarks.synthetic import DIM, World
from tests.store.local_mode import ModelWire

LAYOUT = Layout.for_dims(late=DIM, image=None, text=DIM)
STRAIGHT = {"rest": 4, "grpc": 16}
CALL = 32
"""Pages in one call of the store, about what the pipeline gives it."""
Way = Callable[[Sequence[PageRecord], int, int], None]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pages", type=int, default=100, help="in each turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    records = [record for some in World().records(args.pages) for record in some]
    ways: dict[str, Way] = {
        "docrag by gRPC": docrag_by_grpc,
        "docrag by REST": docrag_by_rest,
        "straight by gRPC": straight_by_grpc,
        "straight by REST": straight_by_rest,
    }
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,))
    server.start()
    rest, grpc_port = ours.recv()
    report: dict[str, Any] = {"cores": os.cpu_count(), "load": [round(os.getloadavg()[0], 2)]}
    times: dict[str, list[tuple[float, float, int]]] = {name: [] for name in ways}
    for _ in range(args.turns):
        for name, way in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            way(records, rest, grpc_port)
            took = time.perf_counter() - wall, time.process_time() - cpu
            ours.send("bytes")
            times[name].append((*took, ours.recv()))
    ours.send("end")
    server.join()
    for name, turns in times.items():
        wall, cpu, size = (np.median(np.array(turns), axis=0) / args.pages).tolist()
        report[name] = {
            "pages_per_second": round(1 / wall, 1),
            "cpu_ms_a_page": round(1000 * cpu, 2),
            "mb_a_page": round(size / 1e6, 3),
        }
    report["load"].append(round(os.getloadavg()[0], 2))
    print(json.dumps(report) if args.json else "\n".join(f"{name}: {told}" for name, told in report.items()))


def docrag_by_rest(records: Sequence[PageRecord], rest: int, grpc_port: int) -> None:
    """As docrag does it where gRPC does not answer."""
    write(ServerStore(connect(address(rest), prefer_grpc=False), "pages", LAYOUT), records)


def docrag_by_grpc(records: Sequence[PageRecord], rest: int, grpc_port: int) -> None:
    """As docrag does it."""
    write(ServerStore(connect(address(rest), grpc_port=grpc_port), "pages", LAYOUT), records)


def write(store: ServerStore, records: Sequence[PageRecord]) -> None:
    """In calls of the size that the pipeline makes."""
    with store:
        for start in range(0, len(records), CALL):
            store.upsert(records[start : start + CALL])
        store.flush()


def straight_by_rest(records: Sequence[PageRecord], rest: int, grpc_port: int) -> None:
    """As qdrant-client's documentation does it."""
    straight(
        QdrantClient(address(rest).url, check_compatibility=False, timeout=60), records, STRAIGHT["rest"]
    )


def straight_by_grpc(records: Sequence[PageRecord], rest: int, grpc_port: int) -> None:
    """The same with prefer_grpc."""
    client = QdrantClient(
        address(rest).url, grpc_port=grpc_port, prefer_grpc=True, check_compatibility=False, timeout=60
    )
    straight(client, records, STRAIGHT["grpc"])


def straight(client: QdrantClient, records: Sequence[PageRecord], at_once: int) -> None:
    """Lists of floats in the client's models."""
    wire = ModelWire(client)
    for start in range(0, len(records), at_once):
        client.upsert("pages", [wire.pack(record).point for record in records[start : start + at_once]])
    client.close()


def address(port: int) -> Address:
    """Of the server."""
    return Address("http", "127.0.0.1", port, "pages")


def serve(pipe: Pipe) -> None:
    """Take requests by REST and gRPC until told to end; tell the bytes since the last time when asked."""
    sizes = [0]
    result = {"operation_id": 1, "status": "completed"}
    done = json.dumps({"status": "ok", "time": 0, "result": result})
    all_done = json.dumps({"status": "ok", "time": 0, "result": [result]})
    root = json.dumps({"title": "qdrant - vector search engine", "version": "1.19.0"})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            sizes[0] += len(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            body = {"GET": root, "PUT": done, "POST": all_done}[self.command].encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST = answer

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing to tell."""

    class Points(proto.PointsServicer):
        def Upsert(self, request: Any, context: Any) -> Any:
            sizes[0] += request.ByteSize()
            result = proto.UpdateResult(operation_id=1, status=proto.UpdateStatus.Completed)
            return proto.PointsOperationResponse(result=result)

    class Health(proto.QdrantServicer):
        def HealthCheck(self, request: Any, context: Any) -> Any:
            return proto.HealthCheckReply(title="qdrant", version="1.19.0")

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    by_grpc = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", -1)])
    proto.add_PointsServicer_to_server(Points(), by_grpc)
    proto.add_QdrantServicer_to_server(Health(), by_grpc)
    port = by_grpc.add_insecure_port("127.0.0.1:0")
    by_grpc.start()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(http.serve_forever, 0.05)
        pipe.send((http.server_address[1], port))
        while pipe.recv() == "bytes":
            pipe.send(sizes[0])
            sizes[0] = 0
        http.shutdown()
    by_grpc.stop(0).wait()


if __name__ == "__main__":
    main()
