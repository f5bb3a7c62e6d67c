"""How a collection on a server is, as `docrag status` tells it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from docrag.store.base import CollectionHealth, Monitored, ReplicaState
from docrag.store.layout import Layout
from docrag.store.server.address import Address
from docrag.store.server.connection import connect
from docrag.store.server.store import ServerStore
from tests.store.fake_grpc import FakeGrpc
from tests.store.fake_qdrant import FakeQdrant, Fault
from tests.store.server.test_faults import FINGERPRINT

OPTIMIZER = "Optimization error: Not enough space available for optimization"


def shard(number: int, state: str, peer: int | None = None) -> dict[str, Any]:
    """A shard as GET /collections/NAME/cluster has it: on this peer, or on another one."""
    return {"shard_id": number, "state": state, **({"peer_id": peer} if peer else {"points_count": 5})}


def cluster(local: list[dict[str, Any]], remote: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "peer_id": 11,
        "shard_count": 2,
        "local_shards": local,
        "remote_shards": remote,
        "shard_transfers": [],
    }


@pytest.fixture
def server() -> Iterator[FakeQdrant]:
    with FakeQdrant() as server:
        yield server


@pytest.fixture
def store(server: FakeQdrant, layout: Layout) -> Iterator[ServerStore]:
    connection = connect(Address.parse(server.uri), sleep=lambda _: None)
    with ServerStore.create(connection, layout, FINGERPRINT) as store:
        yield store


def test_a_collection_that_is_well_needs_no_words(server: FakeQdrant, store: ServerStore):
    assert isinstance(store, Monitored)
    server.cluster = cluster([shard(0, "Active")], [shard(0, "Active", 22)])
    health = store.health()
    assert health == CollectionHealth("green")
    assert health.notes() == []


@pytest.mark.parametrize(
    ("status", "words"), [("yellow", "optimizing"), ("grey", "restarted"), ("red", "failed")]
)
def test_the_status_of_a_collection_is_told(server: FakeQdrant, store: ServerStore, status: str, words: str):
    server.states = {"status": status}
    health = store.health()
    assert health is not None
    assert health.status == status
    assert [words in note for note in health.notes()] == [True]


def test_the_error_of_the_optimizer_is_told(server: FakeQdrant, store: ServerStore):
    server.states = {"status": "red", "optimizer_status": {"error": OPTIMIZER}}
    health = store.health()
    assert health is not None
    assert (health.status, health.error) == ("red", OPTIMIZER)
    assert OPTIMIZER in health.notes()[1]


def test_copies_of_shards_that_are_not_active_are_told(server: FakeQdrant, store: ServerStore):
    server.cluster = cluster(
        [shard(0, "Active"), shard(1, "Partial")], [shard(0, "Dead", 22), shard(1, "Active", 22)]
    )
    health = store.health()
    assert health is not None
    assert health.inactive_replicas == (ReplicaState(1, 11, "Partial"), ReplicaState(0, 22, "Dead"))
    assert health.notes() == [
        "shard 1 on peer 11 is not active: Partial",
        "shard 0 on peer 22 is not active: Dead",
    ]


def test_a_server_that_does_not_tell_of_its_shards_is_well(server: FakeQdrant, store: ServerStore):
    server.faulty = r"/collections/[^/]+/cluster"
    server.faults += [Fault(403)]
    assert store.health() == CollectionHealth("green")
    assert not server.faults


def test_a_collection_that_is_gone_has_no_health(server: FakeQdrant, store: ServerStore):
    server.db.delete_collection("reports--1")
    assert store.health() is None


def test_it_is_told_by_grpc_too(layout: Layout):
    with FakeQdrant() as server, FakeGrpc(server.db) as service:
        connection = connect(Address.parse(server.uri), grpc_port=service.port)
        with ServerStore.create(connection, layout, FINGERPRINT) as store:
            server.cluster = cluster([shard(0, "Dead")], [])
            health = store.health()
    assert health == CollectionHealth("green", "", (ReplicaState(0, 11, "Dead"),))
