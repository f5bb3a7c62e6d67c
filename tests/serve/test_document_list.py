"""The documents of an index, read once as long as they stay the same."""

from __future__ import annotations

import math
import threading
import time
from typing import Any

from docrag.serve.document_list import DocumentList
from docrag.types import IndexedDocument
from tests.threads import at_once


def document(name: str) -> IndexedDocument:
    return IndexedDocument(id=name * 64, files=(f"{name}.pdf",), title=name, pages=1, total_pages=1)


class FakeIndex:
    """An index whose documents can be changed, and that counts how often they are read."""

    def __init__(self) -> None:
        self.stored = [document("a")]
        self.changes = (1, "a process")
        """A token: another process that changes the index makes it another one."""
        self.reads = 0
        self.while_reading = lambda: None

    def documents(self) -> list[IndexedDocument]:
        self.reads += 1
        documents = list(self.stored)
        self.while_reading()
        return documents


def test_documents_are_read_once_until_they_change():
    index: Any = FakeIndex()
    documents = DocumentList(index, max_age=60)
    assert [one.id for one in documents.all()] == ["a" * 64]
    index.stored.append(document("b"))
    assert documents.get("b" * 64) is None
    assert index.reads == 1
    documents.invalidate()
    assert documents.get("b" * 64) == document("b")
    assert index.reads == 2


def test_documents_that_another_process_changes_are_read_again():
    index: Any = FakeIndex()
    documents = DocumentList(index, max_age=math.inf)
    first = documents.version()
    assert [len(documents.all()), len(documents.all()), index.reads] == [1, 1, 1]
    index.changes = tuple([1, "a process"])  # an equal token, which is another object
    assert documents.version() == first
    assert [len(documents.all()), index.reads] == [1, 1]
    index.stored.append(document("b"))
    index.changes = (2, "a process")
    assert documents.version() != first
    assert [len(documents.all()), index.reads] == [2, 2]


def test_a_list_whose_changes_are_not_known_is_read_again_after_a_moment():
    index: Any = FakeIndex()
    documents = DocumentList(index, max_age=0.05)
    documents.all()
    index.stored.clear()
    time.sleep(0.06)
    assert documents.all() == ()


def test_a_change_while_documents_are_read_makes_them_be_read_again():
    index: Any = FakeIndex()
    documents = DocumentList(index, max_age=60)
    index.while_reading = lambda: (index.stored.append(document("b")), documents.invalidate())
    assert len(documents.all()) == 1
    index.while_reading = lambda: None
    assert len(documents.all()) == 2


def test_threads_that_ask_at_the_same_time_share_one_reading():
    index: Any = FakeIndex()
    index.while_reading = lambda: time.sleep(0.05)
    documents = DocumentList(index, max_age=60)
    assert at_once(8, lambda _: len(documents.all())) == [1] * 8
    assert index.reads == 1


def test_a_change_does_not_wait_for_a_reader():
    index: Any = FakeIndex()
    documents = DocumentList(index, max_age=60)
    began, go_on = threading.Event(), threading.Event()
    index.while_reading = lambda: (began.set(), go_on.wait(10))
    reader = threading.Thread(target=documents.all)
    reader.start()
    assert began.wait(10)
    documents.invalidate()
    assert reader.is_alive()  # it still reads: the change did not wait for it
    go_on.set()
    reader.join()
