"""What is learned from refusals, also by several threads at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from qdrant_client import models

from docrag.errors import ServerRefused
from docrag.store.server.failures import BAD_REQUEST, BUSY, NOT_FOUND
from docrag.store.server.known_limits import KnownLimits
from docrag.store.server.limits import NO_LIMITS, CollectionLimits

Describe = Callable[..., models.CollectionInfo]


@pytest.fixture
def describe(info: models.CollectionInfo) -> Describe:
    """Makes descriptions of a collection with these limits."""

    def describe(**limits: object) -> models.CollectionInfo:
        strict = models.StrictModeConfig(enabled=True, **limits)
        return info.model_copy(
            update={"config": info.config.model_copy(update={"strict_mode_config": strict})}
        )

    return describe


@pytest.fixture(scope="module")
def info() -> models.CollectionInfo:
    from qdrant_client import QdrantClient

    client = QdrantClient(":memory:")
    client.create_collection("any", {"caption": models.VectorParams(size=2, distance=models.Distance.DOT)})
    return client.get_collection("any")


def refused(status: int) -> ServerRefused:
    return ServerRefused("the server refuses it", status=status)


def test_what_another_thread_has_learned_meanwhile_is_tried_first(describe: Describe):
    limits = KnownLimits(lambda: describe(search_max_batchsize=2))
    seen: list[CollectionLimits] = []

    def search(used: CollectionLimits) -> str:
        seen.append(used)
        if len(seen) == 1:
            limits.learn_from(refused(BAD_REQUEST), used)  # another search, sent at the same time
            raise refused(BAD_REQUEST)
        return "found"

    assert limits.within(search) == "found"
    assert [used.search_batch for used in seen] == [None, 2]


def test_two_kinds_of_limits_are_learned_one_after_the_other(describe: Describe):
    limits = KnownLimits(lambda: describe(max_query_limit=50))
    statuses = [BUSY, BAD_REQUEST]

    def search(used: CollectionLimits) -> CollectionLimits:
        if statuses:
            raise refused(statuses.pop(0))
        return used

    learned = limits.within(search)
    assert (learned.search_batch, learned.cap(1000)) == (1, 50)
    limits.write_at_most(3)
    with pytest.raises(ServerRefused):  # nothing new is known, and what was learned stays
        limits.learn_from(refused(BAD_REQUEST), limits.current)
    assert limits.current == replace(learned, upsert_batch=3)


@pytest.mark.parametrize("status", [BAD_REQUEST, NOT_FOUND])
def test_a_refusal_that_limits_do_not_explain_is_raised(status: int):
    limits = KnownLimits(lambda: None)
    with pytest.raises(ServerRefused):
        limits.within(lambda _: (_ for _ in ()).throw(refused(status)))
    assert limits.current is NO_LIMITS
