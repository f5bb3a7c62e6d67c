"""A server, or the way to it, fails: nothing that was to be written is lost, and nothing is written twice."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator

import grpc
import orjson
import pytest

from docrag.errors import InvalidRecord, ServerRefused, ServerUnreachable
from docrag.store.layout import Fingerprint, Layout
from docrag.store.server.address import Address
from docrag.store.server.connection import TRIES, connect
from docrag.store.server.store import ServerStore
from docrag.types import PageRecord
from tests.store.fake_grpc import FakeGrpc
from tests.store.fake_qdrant import FakeQdrant, Fault

FINGERPRINT = Fingerprint({"layout": 1, "text": {}})
KEY = "secret-4711"
Start = Callable[..., tuple[ServerStore, FakeQdrant]]


@pytest.fixture
def waits() -> list[float]:
    """Seconds that the store wanted to sleep; it does not."""
    return []


@pytest.fixture
def start(layout: Layout, waits: list[float]) -> Iterator[Start]:
    """Starts a server with faults, and an empty index on it."""
    opened: list[tuple[ServerStore, FakeQdrant]] = []

    def begin(
        *faults: Fault, most_bytes: int = 32 * 2**20, timeout: int = 60
    ) -> tuple[ServerStore, FakeQdrant]:
        server = FakeQdrant(key=KEY).__enter__()
        connection = connect(Address.parse(server.uri), KEY, timeout=timeout, sleep=waits.append)
        store = ServerStore.create(connection, layout, FINGERPRINT)
        server.faults += faults
        server.most_bytes = most_bytes
        opened.append((store, server))
        return store, server

    yield begin
    for store, server in opened:
        store.close()
        server.__exit__()


def written(server: FakeQdrant) -> list[list[str]]:
    """The ids in each request that wrote points."""
    bodies = [sent.body for sent in server.requests if sent.path.endswith("/points") and sent.method == "PUT"]
    return [[point["id"] for point in orjson.loads(body)["points"]] for body in bodies]


def assert_whole(store: ServerStore, records: list[PageRecord]) -> None:
    """Every page is there once, as it was given."""
    found = list(store.scroll())
    assert Counter(record.id for record in found) == Counter(record.id for record in records)
    payloads = {record.id: record.payload for record in records}
    assert all(record.payload == payloads[record.id] for record in found)


PASSING = {
    "500": Fault(500),
    "502": Fault(502),
    "503": Fault(503),
    "429": Fault(429),
    "429 with a time": Fault(429, {"Retry-After": "3"}),
    "cut while it was read": Fault(cut="reading"),
    "cut before it was carried out": Fault(cut="before"),
    "cut after it was written": Fault(cut="after"),
    "cut in the middle of the answer": Fault(cut="middle"),
}


@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_tried_again_and_nothing_is_lost_or_double(
    start: Start, records: list[PageRecord], waits: list[float], fault: str
):
    store, server = start(PASSING[fault], PASSING[fault])
    store._uploader.max_bytes = 20_000
    store.upsert(records)
    store.flush()
    assert_whole(store, records)
    sent = written(server)
    assert fault == "cut while it was read" or sent[0] == sent[1] == sent[2]
    assert len(waits) == 2
    assert waits[1] >= (3 if fault == "429 with a time" else 1)


def test_an_answer_that_takes_too_long_is_asked_for_again(start: Start, records: list[PageRecord]):
    store, server = start(Fault(slow=1.3), timeout=1)
    store.upsert(records)
    assert_whole(store, records)
    assert len(written(server)) == 2


def test_a_slow_answer_is_waited_for(start: Start, records: list[PageRecord], waits: list[float]):
    store, server = start(Fault(slow=0.6), timeout=5)
    store.upsert(records)
    assert_whole(store, records)
    assert (len(written(server)), waits) == (1, [])


@pytest.mark.parametrize("fault", ["500", "429", "cut before it was carried out", "cut after it was written"])
def test_what_does_not_pass_is_an_error_that_names_the_address(
    start: Start, records: list[PageRecord], fault: str
):
    store, server = start(*[PASSING[fault]] * 50)
    with pytest.raises(ServerUnreachable) as caught:
        store.upsert(records)
    assert server.uri.rpartition("/")[0] in caught.value.message
    assert caught.value.hint
    assert KEY not in str(caught.value)
    is_away = fault.startswith("cut")  # a server that may be restarting is asked for minutes
    assert (len(written(server)) > TRIES) is is_away
    server.faults.clear()
    store.upsert(records)  # whatever became of the first call, the second one makes it whole
    assert_whole(store, records)


def test_after_the_server_has_gone_the_error_says_so(start: Start, records: list[PageRecord]):
    store, server = start()
    store.upsert(records[:5])
    server._server.shutdown()
    server._server.server_close()
    with pytest.raises(ServerUnreachable, match="refused") as caught:
        store.upsert(records[5:])
    assert "is Qdrant running" in caught.value.hint
    with pytest.raises(ServerUnreachable):
        store.count()


def test_what_was_reported_before_an_error_is_there(start: Start, records: list[PageRecord]):
    store, server = start()
    store.upsert(records[:10])
    server.faults += [Fault(500)] * TRIES
    with pytest.raises(ServerUnreachable):
        store.upsert(records[10:20])
    assert {record.id for record in store.scroll()} >= {record.id for record in records[:10]}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_refusal_is_final(start: Start, records: list[PageRecord], waits: list[float], status: int):
    store, server = start(Fault(status))
    with pytest.raises(ServerRefused, match=f"answered {status}: scripted"):
        store.upsert(records)
    assert (len(written(server)), waits) == (1, [])


def test_batches_that_are_too_large_are_halved_until_they_fit(start: Start, records: list[PageRecord]):
    store, server = start(most_bytes=9_000)
    store.upsert(records)
    assert_whole(store, records)
    done = [sent for sent in server.requests if sent.path.endswith("/points")]
    too_large = [sent for sent in done if len(sent.body) > 9_000]
    assert 1 <= len(too_large) <= 4  # 67 KB, halves, quarters, eighths: each size once
    before = len(server.requests)
    store.upsert(records)  # what it learned it keeps in mind
    assert all(len(sent.body) <= 9_000 for sent in server.requests[before:])
    assert_whole(store, records)


def test_a_single_page_that_is_too_large_is_named(start: Start, records: list[PageRecord]):
    store, _ = start(most_bytes=1_000)
    with pytest.raises(
        InvalidRecord, match=r"page 1 of /docs/0.pdf: \d+ bytes, http://127.* answered 413"
    ) as caught:
        store.upsert(records)
    assert "max_request_size_mb" in caught.value.hint
    assert store.count() == 0


def test_qdrants_own_words_for_too_large_are_understood(
    start: Start, records: list[PageRecord], monkeypatch: pytest.MonkeyPatch
):
    store, server = start()
    words = "Payload error: JSON payload (9 bytes) is larger than allowed (limit: 8 bytes)."
    plain = server.answer

    def answer(sent: object) -> tuple[int, object]:
        large = len(sent.body) > 9_000
        return (400, {"status": {"error": words}}) if large else plain(sent)

    monkeypatch.setattr(server, "answer", answer)
    store.upsert(records)
    assert_whole(store, records)


def test_queries_and_changes_are_tried_again_too(
    start: Start, records: list[PageRecord], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(FakeQdrant, "indexed", frozenset(["metadata.x"]))
    store, server = start()
    store.upsert(records)
    server.faulty = r".*"
    for call in (
        store.count,
        store.fingerprint,
        lambda: list(store.scroll()),
        lambda: store.facet("metadata.x"),
    ):
        server.faults += [Fault(503), Fault(cut="middle")]
        call()
        assert not server.faults


def test_several_threads_write_and_read_while_answers_are_lost(start: Start, records: list[PageRecord]):
    store, _ = start(*[Fault(503), Fault(cut="after")] * 4)
    failures: list[BaseException] = []

    def write(part: list[PageRecord]) -> None:
        try:
            store.upsert(part)
            store.count()
        except BaseException as error:  # noqa: BLE001 (reported below)
            failures.append(error)

    threads = [threading.Thread(target=write, args=(records[start : start + 10],)) for start in (0, 10, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert_whole(store, records)


def test_a_collection_whose_making_was_not_answered_is_the_same_one(layout: Layout, waits: list[float]):
    with FakeQdrant() as server:
        connection = connect(Address.parse(server.uri), sleep=waits.append)
        server.faulty = r"/collections/reports--1"
        server.faults += [Fault(cut="after")]
        store = ServerStore.create(connection, layout, FINGERPRINT)
        assert (store.count(), store.fingerprint()) == (0, FINGERPRINT)
        store.close()


CODES = grpc.StatusCode


@pytest.mark.parametrize(
    "faults",
    [
        [CODES.UNAVAILABLE, CODES.INTERNAL, CODES.RESOURCE_EXHAUSTED],
        [None, None],  # written, and the answer lost
        [CODES.DEADLINE_EXCEEDED],
    ],
)
def test_grpc_is_tried_again_too(
    layout: Layout, records: list[PageRecord], waits: list[float], faults: list[grpc.StatusCode | None]
):
    with FakeQdrant() as server, FakeGrpc(server.db, *faults) as service:
        connection = connect(Address.parse(server.uri), grpc_port=service.port, sleep=waits.append)
        with ServerStore.create(connection, layout, FINGERPRINT) as store:
            store.upsert(records)
            assert_whole(store, records)
    assert len(waits) == len(faults)
    assert all(request.wait for request in service.upserts)


@pytest.mark.parametrize(
    ("code", "status"), [(CODES.UNAUTHENTICATED, 401), (CODES.INVALID_ARGUMENT, 400), (CODES.NOT_FOUND, 404)]
)
def test_a_refusal_by_grpc_is_final_too(
    layout: Layout, records: list[PageRecord], waits: list[float], code: grpc.StatusCode, status: int
):
    with FakeQdrant() as server, FakeGrpc(server.db, code) as service:
        connection = connect(Address.parse(server.uri), grpc_port=service.port, sleep=waits.append)
        with (
            ServerStore.create(connection, layout, FINGERPRINT) as store,
            pytest.raises(ServerRefused, match="scripted") as caught,
        ):
            store.upsert(records)
    assert (caught.value.status, waits) == (status, [])


def test_a_message_that_is_too_long_for_grpc_is_halved(layout: Layout, records: list[PageRecord]):
    with FakeQdrant() as server, FakeGrpc(server.db, CODES.OUT_OF_RANGE) as service:
        connection = connect(Address.parse(server.uri), grpc_port=service.port)
        with ServerStore.create(connection, layout, FINGERPRINT) as store:
            store.upsert(records)
            assert_whole(store, records)
    assert [len(request.points) for request in service.upserts] == [15, 15]
