"""What docrag says when a server fails: in plain words, with a hint, and without inner addresses."""

from __future__ import annotations

import grpc
import pytest

from docrag.errors import ServerRefused, ServerUnreachable, StorageFull
from docrag.store.layout import Layout
from docrag.store.server.address import Address
from docrag.store.server.connection import TRIES, connect
from docrag.store.server.store import ServerStore
from docrag.types import PageRecord
from tests.store.fake_grpc import FakeGrpc
from tests.store.fake_qdrant import FakeQdrant, Fault
from tests.store.server.test_faults import FINGERPRINT, assert_whole

FULL = "Service internal error: No space left on device: WAL buffer size exceeds available disk space"
"""Qdrant 1.19's own words."""
MANY = 50
"""Requests that fail, more than are ever sent."""
OTHER_WORDS_FOR_FULL = "Service internal error: IO Error: No space left on device (os error 28)"


def upsert_by_rest(layout: Layout, records: list[PageRecord], fault: Fault, waits: list[float]) -> None:
    with FakeQdrant() as server:
        connection = connect(Address.parse(server.uri), sleep=waits.append)
        with ServerStore.create(connection, layout, FINGERPRINT) as store:
            server.faults += [fault] * MANY
            store.upsert(records[:3])


def upsert_by_grpc(
    layout: Layout, records: list[PageRecord], code: grpc.StatusCode, words: str, waits: list[float]
) -> None:
    with FakeQdrant() as server, FakeGrpc(server.db, *[code] * MANY) as service:
        service.words = words
        connection = connect(Address.parse(server.uri), grpc_port=service.port, sleep=waits.append)
        with ServerStore.create(connection, layout, FINGERPRINT) as store:
            store.upsert(records[:3])


@pytest.mark.parametrize(
    "fault", [Fault(500, words=FULL), Fault(500, words=OTHER_WORDS_FOR_FULL), Fault(507)]
)
def test_a_full_disk_is_named_at_once(layout: Layout, records: list[PageRecord], fault: Fault):
    waits: list[float] = []
    with pytest.raises(StorageFull, match=f"answered {fault.status}") as caught:
        upsert_by_rest(layout, records, fault, waits)
    assert "free some space on the server's disk" in caught.value.hint
    assert not waits


def test_a_full_disk_is_named_by_grpc_too(layout: Layout, records: list[PageRecord]):
    waits: list[float] = []
    with pytest.raises(StorageFull, match="No space left on device") as caught:
        upsert_by_grpc(layout, records, grpc.StatusCode.INTERNAL, FULL, waits)
    assert "free some space on the server's disk" in caught.value.hint
    assert not waits


def test_once_there_is_space_again_the_same_write_succeeds(layout: Layout, records: list[PageRecord]):
    with FakeQdrant() as server:
        store = ServerStore.create(connect(Address.parse(server.uri)), layout, FINGERPRINT)
        server.faults += [Fault(500, words=FULL)]
        with pytest.raises(StorageFull):
            store.upsert(records)
        store.upsert(records)
        assert_whole(store, records)
        store.close()


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("Service internal error: Too many open files (os error 24)", "ulimit"),
        ("Service internal error: Out of memory, free: 10, needed more", "more memory"),
        ("Service internal error: Wal error: Can't write WAL", "its log of changes"),
        ("Service internal error: Read-only file system (os error 30)", "mounted read-only"),
        ("Service internal error: 1 of 2 replicas failed", "docrag status"),
        ("Service internal error: something else", "see the server's log"),
    ],
)
def test_other_failures_have_hints_of_their_own_and_are_tried_again(
    layout: Layout, records: list[PageRecord], words: str, hint: str
):
    waits: list[float] = []
    with pytest.raises(ServerUnreachable, match="answered 500") as caught:
        upsert_by_rest(layout, records, Fault(500, words=words), waits)
    assert hint in caught.value.hint
    assert len(waits) == TRIES - 1


def test_an_operation_that_timed_out_on_the_server_is_tried_again(layout: Layout, records: list[PageRecord]):
    """Qdrant answers 408 when another machine of the cluster was too slow for it."""
    with FakeQdrant() as server:
        waits: list[float] = []
        connection = connect(Address.parse(server.uri), sleep=waits.append)
        with ServerStore.create(connection, layout, FINGERPRINT) as store:
            server.faults += [Fault(408)]
            store.upsert(records)
            assert_whole(store, records)
    assert len(waits) == 1


GRPC_WORDS = {
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.3:6334: Failed to connect to "
    "remote host: Connection refused": "the connection was refused",
    "DNS resolution failed for qdrant:6334: C-ares status": "the name of the host is not known",
    "Socket closed": "the connection was lost",
    "recvmsg:Connection reset by peer": "the connection was lost",
    "the server's own words": "the server's own words",
}


@pytest.mark.parametrize("words", GRPC_WORDS)
def test_what_grpc_says_of_connections_is_told_in_plain_words(
    layout: Layout, records: list[PageRecord], words: str
):
    with pytest.raises(ServerUnreachable, match=GRPC_WORDS[words]) as caught:
        upsert_by_grpc(layout, records, grpc.StatusCode.UNAVAILABLE, words, [])
    for text in ("ipv4", "10.0.0.3", "6334", "recvmsg"):
        assert text not in caught.value.message
    assert caught.value.hint


def test_a_refusal_keeps_the_words_of_the_server(layout: Layout, records: list[PageRecord]):
    fault = Fault(400, words="Wrong input: No space left on device is a title here")
    with pytest.raises(ServerRefused, match="is a title here"):
        upsert_by_rest(layout, records, fault, [])
