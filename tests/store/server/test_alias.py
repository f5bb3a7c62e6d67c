"""Several machines make, or migrate, one index at the same time: they end at one collection.

Two machines share the client's local mode, and every request of theirs is a step. Each test tries many orders
of these steps.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Self

import pytest
from qdrant_client import QdrantClient, models

from docrag.errors import IndexMismatch, IndexNotFound, IndexReplaced, StoreError
from docrag.store.layout import Fingerprint, Layout
from docrag.store.server import alias
from docrag.store.server.connection import Connection
from docrag.store.server.schema import fingerprint_metadata
from docrag.store.server.shared import SharedStore
from docrag.store.server.store import ServerStore
from docrag.types import PageRecord
from tests.store.local_mode import local_connection

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no")

FINGERPRINT = Fingerprint({"layout": 1, "late": None, "text": {"family": "minilm", "weight": 1.0}})
OTHER = Fingerprint({"layout": 1, "late": {"family": "colpali"}, "text": {"family": "minilm"}})
STEPS = (*range(7), 10, *range(14, 26, 2))
"""How many requests of one machine come before those of the other: all about the names, few of the others."""


class Machine:
    """Does something in a thread of its own, a request at a time, whenever it is told to go on."""

    def __init__(self, client: QdrantClient, work: Callable[[Connection], Any]) -> None:
        self.result: Any = None
        self.error: StoreError | None = None
        self._connection = local_connection("reports", client)
        self._request = self._connection.call
        self._connection.call = self._call  # type: ignore[method-assign, assignment]
        self._work = work
        self._may_go = threading.Semaphore(0)
        self._is_idle = threading.Semaphore(0)
        self._has_ended = False
        self._runs_freely = False
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        self._is_idle.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def go(self, requests: int) -> None:
        """Let it make some requests; fewer if it ends before."""
        for _ in range(requests):
            if self._has_ended:
                return
            self._may_go.release()
            self._is_idle.acquire()

    def finish(self) -> None:
        """Let it make all the requests that are left."""
        self._runs_freely = True
        self._may_go.release()
        self._thread.join()

    def _call(self, do: Callable[[], Any], **options: Any) -> Any:
        if not self._runs_freely:
            self._is_idle.release()
            self._may_go.acquire()
        return self._request(do, **options)

    def _run(self) -> None:
        try:
            self.result = self._work(self._connection)
        except StoreError as error:
            self.error = error
        finally:
            self._has_ended = True
            self._is_idle.release()


def make(layout: Layout, fingerprint: Fingerprint = FINGERPRINT) -> Callable[[Connection], str]:
    return lambda connection: alias.make_index(connection, layout, fingerprint)


def names(client: QdrantClient) -> set[str]:
    return {collection.name for collection in client.get_collections().collections}


def target(client: QdrantClient) -> str | None:
    return alias.alias_target(local_connection("reports", client), "reports")


@pytest.mark.slow
@pytest.mark.parametrize("first", STEPS)
def test_two_first_ingests_make_one_collection(layout: Layout, first: int):
    for second in STEPS:
        client = QdrantClient(":memory:")
        with Machine(client, make(layout)) as one, Machine(client, make(layout)) as other:
            one.go(first)
            other.go(second)
            one.finish()
        assert (one.error, other.error) == (None, None), (first, second)
        assert {one.result, other.result, target(client)} == {"reports--1"} == names(client), (first, second)


@pytest.mark.slow
@pytest.mark.parametrize("first", STEPS)
def test_of_two_first_ingests_with_other_models_one_is_refused(layout: Layout, first: int):
    for second in STEPS:
        client = QdrantClient(":memory:")
        with (
            Machine(client, make(layout)) as one,
            Machine(client, make(layout, OTHER)) as other,
        ):
            one.go(first)
            other.go(second)
            one.finish()
        outcomes = {one.result or type(one.error), other.result or type(other.error)}
        assert outcomes == {"reports--1", IndexMismatch}, (first, second)
        assert (target(client), names(client)) == ("reports--1", {"reports--1"}), (first, second)


@pytest.mark.parametrize("first", STEPS)
def test_an_index_that_was_made_and_migrated_meanwhile_is_not_lost(layout: Layout, first: int):
    def make_and_migrate(connection: Connection) -> str:
        old = alias.make_index(connection, layout, FINGERPRINT)
        new = alias.make_staging(connection, layout, OTHER)
        alias.switch_alias(connection, "reports", new, expected=old)
        alias.drop_collection(connection, old)
        return new

    client = QdrantClient(":memory:")
    with Machine(client, make(layout)) as one, Machine(client, make_and_migrate) as other:
        one.go(first)
        other.finish()
    assert (other.result, other.error, target(client)) == ("reports--2", None, "reports--2")
    assert one.result == "reports--1" or isinstance(one.error, IndexMismatch)
    assert names(client) <= {"reports--1", "reports--2"}


@pytest.mark.slow
@pytest.mark.parametrize("first", STEPS)
def test_of_two_migrations_to_other_models_one_is_refused(layout: Layout, first: int):
    def migrate(fingerprint: Fingerprint) -> Callable[[Connection], str]:
        def work(connection: Connection) -> str:
            old = alias.collection_behind(connection, "reports")
            name = alias.next_collection_name(connection)
            new = alias.make_staging(connection, layout, fingerprint, name=name)
            alias.switch_alias(connection, "reports", new, expected=old)
            return new

        return work

    third = Fingerprint({**OTHER.values, "pooling": "tokens"})
    for second in STEPS:
        client = QdrantClient(":memory:")
        make(layout)(local_connection("reports", client))
        with Machine(client, migrate(OTHER)) as one, Machine(client, migrate(third)) as other:
            one.go(first)
            other.go(second)
            one.finish()
        done = [machine for machine in (one, other) if machine.error is None]
        assert done, (first, second, one.error, other.error)
        assert target(client) in {machine.result for machine in done}
        assert all(isinstance(machine.error, StoreError | None) for machine in (one, other))


def test_an_alias_that_points_elsewhere_than_expected_is_not_switched(layout: Layout):
    connection = local_connection("reports")
    make(layout)(connection)
    new = alias.make_staging(connection, layout, OTHER)
    connection.client.create_collection("elsewhere", {}, metadata=fingerprint_metadata(OTHER))
    alias.switch_alias(connection, "reports", "elsewhere")
    with pytest.raises(IndexReplaced, match="migrated elsewhere in the meantime: it is elsewhere now"):
        alias.switch_alias(connection, "reports", new, expected="reports--1")
    assert alias.alias_target(connection, "reports") == "elsewhere"


def detach(connection: Connection) -> None:
    """Take the alias away, as a snapshot that is restored on another server does."""
    delete = models.DeleteAlias(alias_name=connection.address.collection)
    connection.client.update_collection_aliases([models.DeleteAliasOperation(delete_alias=delete)])


def test_a_collection_without_its_alias_gets_it_again(layout: Layout, records: list[PageRecord]):
    connection = local_connection("reports")
    with ServerStore.create(connection, layout, FINGERPRINT) as store:
        store.upsert(records)
        detach(connection)
        assert alias.detached_collections(connection) == {"reports--1": FINGERPRINT}
        with pytest.raises(IndexMismatch, match="reports has lost its alias, but reports--1 is there: index"):
            make(layout, OTHER)(connection)
        assert make(layout)(connection) == "reports--1"
        assert alias.detached_collections(connection) == {}
        assert ServerStore.open(connection, layout).count() == len(records)


def test_of_several_collections_without_alias_none_is_guessed(layout: Layout):
    connection = local_connection("reports")
    for name in ("reports--1", "reports--4"):
        alias.make_staging(connection, layout, FINGERPRINT, name=name)
    with pytest.raises(StoreError, match="several collections may be meant: reports--1, reports--4") as told:
        make(layout)(connection)
    assert "such as memory://memory:0/reports--4" in told.value.hint
    assert names(connection.client) == {"reports--1", "reports--4"}


def test_a_collection_that_another_alias_names_is_left_alone(layout: Layout):
    connection = local_connection("reports")
    make(layout)(connection)
    alias.switch_alias(connection, "archive", "reports--1")
    detach(connection)
    assert alias.detached_collections(connection) == {}
    assert make(layout)(connection) == "reports--2"


class TestAnOpenStore:
    """What somebody notices who has the index open while another machine replaces it."""

    @pytest.fixture
    def store(self, layout: Layout) -> SharedStore:
        return SharedStore.of(ServerStore.create(local_connection("reports"), layout, FINGERPRINT), "here")

    def migrate(self, store: SharedStore, *, keep_old: bool) -> None:
        new = alias.make_staging(store.connection, store.layout, OTHER)
        alias.switch_alias(store.connection, "reports", new)
        if not keep_old:
            alias.drop_collection(store.connection, "reports--1")

    def test_writes_to_a_collection_that_is_gone_say_why(self, store: SharedStore, records: list[PageRecord]):
        store.upsert(records[:3])
        store.flush()
        self.migrate(store, keep_old=False)
        with pytest.raises(IndexReplaced, match="it is reports--2 now, and was reports--1"):
            store.upsert(records[3:])
        with pytest.raises(IndexReplaced):
            store.count()

    def test_writes_to_a_collection_that_was_kept_are_not_safe(
        self, store: SharedStore, records: list[PageRecord]
    ):
        self.migrate(store, keep_old=True)
        store.upsert(records)
        assert store.count() == len(records)
        with pytest.raises(IndexReplaced, match="migrated after it was opened") as told:
            store.flush()
        assert told.value.hint.startswith("run the same again")

    def test_writes_without_an_alias_are_not_safe(self, store: SharedStore, records: list[PageRecord]):
        store.upsert(records[:3])
        detach(store.connection)
        with pytest.raises(IndexNotFound, match="nobody finds what is written to reports--1"):
            store.flush()

    def test_a_collection_under_its_own_name_needs_no_alias(self, layout: Layout, records: list[PageRecord]):
        connection = local_connection("reports--1")
        client = connection.client
        ServerStore.create(local_connection("reports", client), layout, FINGERPRINT)
        store = SharedStore.of(ServerStore.open(connection, layout), "here")
        store.upsert(records)
        store.flush()
        assert store.count() == len(records)
        client.delete_collection("reports--1")
        with pytest.raises(IndexNotFound, match="reports--1 is gone"):
            store.count()
