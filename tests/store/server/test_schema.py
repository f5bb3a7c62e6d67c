"""The fingerprint in the metadata of a collection: people read it, and it comes back equal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from docrag.errors import StoreError
from docrag.store.layout import Fingerprint, Layout
from docrag.store.server import alias
from docrag.store.server.address import Address
from docrag.store.server.connection import Connection, connect
from docrag.store.server.schema import fingerprint_metadata
from docrag.store.server.store import ServerStore, stored_fingerprint
from tests.store.fake_grpc import FakeGrpc
from tests.store.fake_qdrant import FakeQdrant

BUILT = Fingerprint(
    {
        "layout": 1,
        "late": {"family": "colqwen2", "dim": 16, "scale": 1.0, "revision": None},
        "image": None,
        "text": {"family": "minilm", "dim": 8, "inked": True, "options": {"prefix": None, "empty": {}}},
    }
)


@pytest.fixture(params=["rest", "grpc"])
def connection(request: pytest.FixtureRequest) -> Iterator[Connection]:
    with FakeQdrant() as fake, FakeGrpc(fake.db) as service:
        by_grpc = request.param == "grpc"
        opened = connect(Address.parse(fake.uri), prefer_grpc=by_grpc, grpc_port=service.port)
        assert opened.wire.keeps_order is not by_grpc
        yield opened
        opened.close()


def metadata_of(connection: Connection) -> Any:
    info = connection.info("reports")
    assert info is not None
    return info.config.metadata


def set_metadata(connection: Connection, metadata: dict[str, Any]) -> None:
    connection.client.update_collection("reports--1", metadata=metadata)


def test_it_is_nested_and_comes_back_with_its_nulls(connection: Connection, layout: Layout):
    ServerStore.create(connection, layout, BUILT)
    own = metadata_of(connection)["docrag"]
    assert own["fingerprint"]["late"] == {"family": "colqwen2", "dim": 16, "scale": 1.0}
    assert sorted(own["fingerprint_nulls"]) == ["image", "late.revision", "text.options.prefix"]
    stored = stored_fingerprint(connection)
    assert stored == BUILT
    assert stored is not None
    assert stored.to_json() == BUILT.to_json()  # 1.0 stays a float, 16 an integer


def test_a_collection_that_was_begun_is_recognised(connection: Connection, layout: Layout):
    begun = ServerStore.staging(connection, layout, BUILT)
    assert alias.make_staging(connection, layout, BUILT) == begun.collection
    other = Fingerprint({**BUILT.values, "image": {"family": "clip"}})
    assert alias.make_staging(connection, layout, other) != begun.collection


def test_the_text_of_an_older_docrag_is_read(connection: Connection, layout: Layout):
    begun = ServerStore.create(connection, layout, Fingerprint({"layout": 1}))
    set_metadata(connection, {"docrag": {"fingerprint": BUILT.to_json()}})
    assert stored_fingerprint(connection) == begun.fingerprint() == BUILT
    set_metadata(connection, {"docrag": {"fingerprint": "{"}})
    with pytest.raises(StoreError, match="damaged"):
        begun.fingerprint()


def test_a_new_fingerprint_leaves_what_else_docrag_keeps(connection: Connection, layout: Layout):
    store = ServerStore.create(connection, layout, BUILT)
    kept = metadata_of(connection)["docrag"]
    set_metadata(connection, {"docrag": {**kept, "note": "n"}, "own": 1})
    replaced = Fingerprint({"layout": 1, "text": {"family": "minilm"}})
    store.set_fingerprint(replaced)
    assert store.fingerprint() == replaced
    metadata = metadata_of(connection)
    assert (metadata["docrag"]["note"], metadata["own"]) == ("n", 1)
    assert "fingerprint_nulls" not in metadata["docrag"]


@pytest.mark.parametrize(
    "metadata", [None, {}, {"docrag": 1}, {"docrag": {}}, {"docrag": {"fingerprint": 1}}]
)
def test_other_metadata_is_no_fingerprint(connection: Connection, layout: Layout, metadata: Any):
    connection.client.create_collection("reports", vectors_config={}, metadata=metadata)
    with pytest.raises(StoreError, match="not made by docrag"):
        stored_fingerprint(connection)


def test_nothing_is_listed_where_nothing_is_null():
    assert fingerprint_metadata(Fingerprint({"layout": 1})) == {"docrag": {"fingerprint": {"layout": 1}}}
