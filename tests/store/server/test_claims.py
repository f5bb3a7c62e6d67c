"""Machines claim, change and remove the same pages at the same moment: no claim is lost.

Each test runs against the stand-ins, and against a real server where DOCRAG_TEST_QDRANT_URL names one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from docrag.errors import ServerUnreachable
from docrag.store.layout import Layout
from docrag.store.requests import FieldMatch, PayloadFilter
from docrag.store.server.schema import HELD_BY
from docrag.store.server.shared import SharedStore
from docrag.store.server.store import ServerStore
from docrag.types import PageRecord
from tests.store.engines import OPENERS

SERVERS = [name for name in OPENERS if name not in ("edge",)]
FIRST = PayloadFilter(must=(FieldMatch("metadata.document_id", (f"{0:064x}",)),))

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no")


class Machine(SharedStore):
    """A machine that can be overtaken: what is given takes place when it has read claims the next time."""

    overtaken_by: list[Callable[[], None]]

    def retrieve(self, *args: object, **options: object) -> list[PageRecord]:
        records = super().retrieve(*args, **options)  # type: ignore[arg-type]
        self._let_pass()
        return records

    def scroll(self, *args: object, **options: object) -> Iterator[PageRecord]:
        records = list(super().scroll(*args, **options))  # type: ignore[arg-type]
        self._let_pass()
        return iter(records)

    def _let_pass(self) -> None:
        if self.overtaken_by:
            self.overtaken_by.pop(0)()


def machine(store: ServerStore, name: str) -> Machine:
    made = Machine.of(store, name)
    made.overtaken_by = []
    return made


@pytest.fixture(params=SERVERS)
def machines(request: pytest.FixtureRequest, tmp_path: Path, layout: Layout) -> Iterator[tuple[Machine, ...]]:
    with OPENERS[request.param](tmp_path, layout) as store:
        assert isinstance(store, ServerStore)
        yield machine(store, "one"), machine(store, "other")


@pytest.fixture
def pages(record: Callable[[int], PageRecord]) -> list[PageRecord]:
    """Three pages of a document, and one of another."""
    return [record(number) for number in (0, 1, 2, 5)]


def holders(store: ServerStore) -> dict[str, list[str]]:
    return {record.id: sorted(record.payload[HELD_BY]) for record in ServerStore.scroll(store)}


def of_all(pages: list[PageRecord], *names: str) -> dict[str, list[str]]:
    return {page.id: sorted(names) for page in pages}


def test_both_hold_new_pages_that_they_write_at_once(
    machines: tuple[Machine, Machine], pages: list[PageRecord]
):
    one, other = machines
    one.overtaken_by = [lambda: other.upsert(pages[1:])]
    one.upsert(pages)
    assert holders(one) == of_all(pages, "one", "other") | of_all(pages[:1], "one")


def test_a_claim_that_appears_while_pages_are_replaced_stays(
    machines: tuple[Machine, Machine], pages: list[PageRecord]
):
    one, other = machines
    one.upsert(pages)
    one.overtaken_by = [lambda: other.hold([f"{0:064x}"])]
    one.upsert(pages)
    assert holders(one) == of_all(pages[:3], "one", "other") | of_all(pages[3:], "one")


def test_a_page_that_is_removed_while_it_is_written_has_one_holder(
    machines: tuple[Machine, Machine], pages: list[PageRecord]
):
    one, other = machines
    other.upsert(pages)
    one.overtaken_by = [lambda: other.delete(PayloadFilter())]
    one.upsert(pages)
    assert holders(one) == of_all(pages, "one")


def test_claims_on_stored_pages_add_up(machines: tuple[Machine, Machine], pages: list[PageRecord]):
    one, other = machines
    machine(one, "first").upsert(pages)
    one.overtaken_by = [lambda: other.hold([f"{0:064x}", f"{1:064x}"])]
    one.hold([f"{0:064x}"])
    everybody = of_all(pages[:3], "first", "one", "other")
    assert holders(one) == everybody | of_all(pages[3:], "first", "other")
    assert one.held() == {f"{0:064x}": 3}
    assert one.unheld() == {f"{1:064x}"}
    assert one.pages_by_holder() == {"first": 4, "one": 3, "other": 4}
    assert one.holders_of(FIRST) == {"first", "one", "other"}


def test_pages_that_somebody_claims_while_they_are_removed_stay(
    machines: tuple[Machine, Machine], pages: list[PageRecord]
):
    one, other = machines
    machine(one, "first").upsert(pages)
    one.hold([f"{0:064x}", f"{1:064x}"])
    one.overtaken_by = [lambda: other.hold([f"{0:064x}"])]
    one.delete(PayloadFilter())
    assert holders(one) == of_all(pages[:3], "first", "other") | of_all(pages[3:], "first")


def test_of_two_that_remove_at_once_the_last_takes_the_pages_along(
    machines: tuple[Machine, Machine], pages: list[PageRecord]
):
    one, other = machines
    one.upsert(pages)
    other.upsert(pages)
    one.overtaken_by = [lambda: other.delete(PayloadFilter())]
    one.delete(FIRST)
    assert holders(one) == of_all(pages[3:], "one")


def test_the_claims_of_a_machine_that_is_gone_are_released(
    machines: tuple[Machine, Machine], pages: list[PageRecord]
):
    one, other = machines
    one.upsert(pages[:3])
    other.upsert(pages[1:])
    one.release(frozenset({"other"}), PayloadFilter())
    assert holders(one) == of_all(pages[:3], "one")


def test_a_page_names_the_files_of_all_machines_that_hold_it(
    machines: tuple[Machine, Machine], pages: list[PageRecord]
):
    one, other = machines
    one.upsert(pages[:3])
    other.hold([f"{0:064x}"])
    one.overtaken_by = [lambda: other.name_sources(f"{0:064x}", ["/its/0.pdf"])]
    one.name_sources(f"{0:064x}", ["/docs/0.pdf", "/mine/0.pdf"])
    [sources] = {tuple(record.payload["metadata"]["sources"]) for record in one.scroll(FIRST)}
    assert sources == ("/docs/0.pdf", "/its/0.pdf", "/mine/0.pdf")
    other.upsert(pages[:3])  # as `docrag ingest --again` does
    [record] = one.retrieve([pages[0].id], payload=["metadata.sources", "metadata.source"])
    assert record.payload["metadata"] == {"sources": [*sources], "source": "/docs/0.pdf"}
    other.delete(FIRST)
    one.name_sources(f"{0:064x}", ["/mine/0.pdf"])
    [record] = one.retrieve([pages[0].id], payload=["metadata.sources", "metadata.source"])
    assert record.payload["metadata"] == {"sources": ["/mine/0.pdf"], "source": "/mine/0.pdf"}


def test_pages_whose_holders_never_stay_the_same_are_given_up(
    machines: tuple[Machine, Machine], pages: list[PageRecord]
):
    one, other = machines
    other.upsert(pages)

    numbers = count()

    def change() -> None:
        machine(other, f"machine {next(numbers)}").hold([f"{0:064x}"])
        one.overtaken_by.append(change)

    one.overtaken_by = [change]
    with pytest.raises(ServerUnreachable, match="keep changing who holds 3 of the pages"):
        one.upsert(pages)


def test_threads_lose_no_claim(machines: tuple[Machine, Machine], pages: list[PageRecord]):
    one, _ = machines
    names = [f"machine {number}" for number in range(4)]
    threads = [threading.Thread(target=machine(one, name).upsert, args=(pages,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert holders(one) == of_all(pages, *names)
