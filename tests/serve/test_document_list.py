"""The documents of an index, read once while they stay the same."""

import threading
import time
from typing import Any

from docrag.serve.document_list import Documents
from docrag.types import IndexedDocument
from tests.threads import at_once


def named(name: str) -> IndexedDocument:
    return IndexedDocument(id=name * 64, files=(f"{name}.pdf",), title=name, pages=1, total_pages=1)


class Slow:
    """An index whose documents can be changed, and that counts how often they are read."""

    def __init__(self) -> None:
        self.there = [named("a")]
        self.reads = 0
        self.reading = lambda: None

    def documents(self) -> list[IndexedDocument]:
        self.reads += 1
        found = list(self.there)
        self.reading()
        return found


def test_documents_are_read_once_until_they_change():
    index: Any = Slow()
    documents = Documents(index, fresh=60)
    assert [one.id for one in documents.all()] == ["a" * 64]
    index.there.append(named("b"))
    assert documents.get("b" * 64) is None
    assert index.reads == 1
    documents.changed()
    assert documents.get("b" * 64) == named("b")
    assert index.reads == 2


def test_documents_that_another_process_changes_are_seen_after_a_moment():
    index: Any = Slow()
    documents = Documents(index, fresh=0.05)
    documents.all()
    index.there.clear()
    time.sleep(0.06)
    assert documents.all() == ()


def test_what_changes_while_it_is_read_is_read_again():
    index: Any = Slow()
    documents = Documents(index, fresh=60)
    index.reading = lambda: (index.there.append(named("b")), documents.changed())
    assert len(documents.all()) == 1
    index.reading = lambda: None
    assert len(documents.all()) == 2


def test_many_who_ask_at_once_are_answered_by_one_reading():
    index: Any = Slow()
    index.reading = lambda: time.sleep(0.05)
    documents = Documents(index, fresh=60)
    assert at_once(8, lambda _: len(documents.all())) == [1] * 8
    assert index.reads == 1


def test_a_change_waits_for_no_reader():
    index: Any = Slow()
    documents = Documents(index, fresh=60)
    began, go_on = threading.Event(), threading.Event()
    index.reading = lambda: (began.set(), go_on.wait(10))
    reader = threading.Thread(target=documents.all)
    reader.start()
    assert began.wait(10)
    documents.changed()
    assert reader.is_alive()  # and still reading: the change did not wait for it
    go_on.set()
    reader.join()
