"""An index on a server that refuses some things: pages over a limit, and what a key does not allow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from qdrant_client import models

from docrag import Index, Settings
from docrag.errors import ServerRefused
from docrag.search.filters import Between
from docrag.store.server.failures import HINTS, Failure
from docrag.store.server.refusals import refusal_hint
from tests.samples import APPLE, CLOCK, FERRY, write_pdf
from tests.store.fake_grpc import FakeGrpc
from tests.store.fake_qdrant import FakeQdrant
from tests.store.strict_mode import Key

LONG = " ".join(f"word{number}" for number in range(80))


@pytest.fixture
def server() -> Iterator[FakeQdrant]:
    with FakeQdrant() as server:
        yield server


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """Two files: the second page of the first has more words than the others together."""
    write_pdf(tmp_path / "docs" / "one.pdf", FERRY, LONG, CLOCK)
    write_pdf(tmp_path / "docs" / "two.pdf", APPLE)
    return tmp_path / "docs"


def open_index(uri: str, tmp_path: Path, **settings: object) -> Index:
    return Index.open(settings=Settings(index=uri, files=str(tmp_path / "files"), workers=1, **settings))


@pytest.mark.slow
def test_a_page_over_the_limit_of_a_vector_costs_itself(server: FakeQdrant, docs: Path, tmp_path: Path):
    limit = {"patches": models.StrictModeMultivector(max_vectors=60)}
    server.rules.strict = models.StrictModeConfig(enabled=True, multivector_config=limit)
    with open_index(server.uri, tmp_path) as index:
        report = index.ingest(docs)
        assert report.pages == index.status().pages == 3
        assert [hit.page for hit in index.search("pendulum", filter={"file_name": "one.pdf"})] == [3, 1]
        assert [file.status for file in index.ingest(docs).files] == ["unchanged", "unchanged"]
    one, two = sorted(report.files, key=lambda file: file.file)
    assert (one.status, one.pages, two.status, two.pages, two.error) == ("added", 2, "added", 1, None)
    assert one.error.startswith("page 2: patches has ")
    assert "the server accepts 60" in one.error
    assert "multivector_config" in one.hint


@pytest.mark.slow
def test_a_page_over_the_body_limit_of_a_proxy_costs_itself(server: FakeQdrant, docs: Path, tmp_path: Path):
    with open_index(server.uri, tmp_path) as index:
        index.ingest(write_pdf(tmp_path / "first.pdf", CLOCK))
        server.most_bytes = 150_000
        report = index.ingest(docs)
        assert index.status().pages == 4
    [one] = report.failures
    assert one.error.startswith("page 2: ")
    assert "answered 413" in one.error
    assert "gRPC" in one.hint
    assert report.pages == 3


@pytest.mark.slow
def test_a_file_of_which_every_page_is_refused_has_failed(server: FakeQdrant, tmp_path: Path):
    write_pdf(tmp_path / "docs" / "long.pdf", LONG)
    write_pdf(tmp_path / "docs" / "two.pdf", APPLE)
    limit = {"patches": models.StrictModeMultivector(max_vectors=60)}
    server.rules.strict = models.StrictModeConfig(enabled=True, multivector_config=limit)
    with open_index(server.uri, tmp_path) as index:
        report = index.ingest(tmp_path / "docs")
        assert index.status().pages == 1
    assert {Path(file.file).name: file.status for file in report.files} == {
        "long.pdf": "failed",
        "two.pdf": "added",
    }


FILTERS: list[dict[str, object]] = [
    {"file_name": "one.pdf"},
    {"title": "2023"},
    {"title": ["Ferry", 7]},
    {"words_from": "text-layer"},
    {"page_label": "3"},
    {"page": 3},
    {"page_number": [1, 3]},
    {"total_pages": "3"},
    {"total_pages": 3},
    {"source": "one.pdf"},
    {"document_id": "ab"},
]
"""Everything that pages have and people filter by."""


@pytest.mark.slow
@pytest.mark.parametrize("by_grpc", [False, True])
def test_every_documented_filter_is_allowed_by_the_defaults_of_a_cloud(
    server: FakeQdrant, docs: Path, tmp_path: Path, by_grpc: bool
):
    server.rules.strict = models.StrictModeConfig(
        enabled=True,
        unindexed_filtering_retrieve=False,
        unindexed_filtering_update=False,
        max_payload_index_count=100,
    )
    with FakeGrpc(server.db, rules=server.rules) as service:
        settings = {"grpc_port": service.port} if by_grpc else {}
        with open_index(server.uri, tmp_path, **settings) as index:
            index.ingest(docs)
            found = [len(index.search("pendulum", filter=filter)) for filter in FILTERS]
            index.search("pendulum", filter=Between(key="total_pages", gte=2))
            index.search("pendulum", filter=Between(key="page", lt=3))
            assert index.remove(docs / "one.pdf") == 3
    assert found[0] == 3
    assert found[3:9] == [4, 1, 1, 3, 3, 3]


@pytest.mark.slow
def test_a_removal_that_is_refused_leaves_the_file_in_the_index(
    server: FakeQdrant, docs: Path, tmp_path: Path
):
    with open_index(server.uri, tmp_path) as index:
        index.ingest(docs)
        documents = index.documents()
        server.rules.key = Key("r")
        with pytest.raises(ServerRefused, match="Global manage access is required") as caught:
            index.remove(docs / "one.pdf")
        assert "may read and not change" in caught.value.hint
        assert index.documents() == documents
        (docs / "two.pdf").unlink()
        with pytest.raises(ServerRefused):
            index.ingest(docs, prune=True)
        assert index.documents() == documents
        server.rules.key = Key()
        assert index.remove(docs / "one.pdf") == 3
        assert [file.status for file in index.ingest(docs, prune=True).files].count("removed") == 1


@pytest.mark.slow
def test_a_key_that_may_only_read_searches(server: FakeQdrant, docs: Path, tmp_path: Path):
    with open_index(server.uri, tmp_path) as index:
        index.ingest(docs)
    server.rules.key = Key("r")
    with open_index(server.uri, tmp_path / "other") as index:
        assert index.search("pendulum", k=1)[0].page == 3
        assert index.status().pages == 4
        with pytest.raises(ServerRefused, match="Global manage access"):
            index.ingest(write_pdf(tmp_path / "new.pdf", CLOCK * 2))


@pytest.mark.slow
@pytest.mark.parametrize("covered", [("reports",), ("reports--1",), ("reports", "reports--1")])
def test_a_key_for_one_collection_reads_and_writes_it(
    server: FakeQdrant, docs: Path, tmp_path: Path, covered: tuple[str, ...]
):
    with open_index(server.uri, tmp_path) as index:
        index.ingest(docs)
    server.rules.key = Key("rw", covered)
    address = f"{server.uri.rpartition('/')[0]}/{covered[0]}"
    with open_index(address, tmp_path / "other") as index:
        assert index.search("pendulum", k=1)[0].page == 3
        index.ingest(write_pdf(tmp_path / "new.pdf", CLOCK * 2))
        assert index.status().pages == 5
        assert index.remove(tmp_path / "new.pdf") == 1


@pytest.mark.slow
def test_a_key_for_the_collection_behind_an_alias_is_told_its_name(
    server: FakeQdrant, docs: Path, tmp_path: Path
):
    with open_index(server.uri, tmp_path) as index:
        index.ingest(docs)
    server.rules.key = Key("rw", ("reports--1",))
    with (
        pytest.raises(ServerRefused, match="Access to collection reports is required") as caught,
        open_index(server.uri, tmp_path) as index,
    ):
        index.search("pendulum")
    assert "such as reports--1" in caught.value.hint


@pytest.mark.slow
def test_a_key_for_a_collection_cannot_create_it(server: FakeQdrant, docs: Path, tmp_path: Path):
    server.rules.key = Key("rw", ("reports", "reports--1"))
    with (
        pytest.raises(ServerRefused, match="Global access is required") as caught,
        open_index(server.uri, tmp_path) as index,
    ):
        index.ingest(docs)
    assert "a key for the whole server" in caught.value.hint


@pytest.mark.parametrize(
    ("status", "message", "part"),
    [
        (403, "Forbidden: Global manage access is required", "may read and not change"),
        (403, "Forbidden: Global access is required", "for certain collections only"),
        (403, "Forbidden: Manage access for this operation is required", "for certain collections only"),
        (403, "Forbidden: Access to collection reports is required", "such as reports--1"),
        (403, "Forbidden: Write access to collection x--1 is required", "may read the collection x--1"),
        (403, "Forbidden: Only points access is allowed for collection x", "(prw)"),
        (403, "ExpiredSignature", "has expired"),
        (403, "InvalidSignature", "signed with another key"),
        (403, "Invalid JWT, stateful validation failed", "value_exists"),
        (403, "Storage locked: maintenance", "has locked the server"),
        (403, "forbidden", "the key does not allow this"),
        (401, "Invalid API key or JWT", "jwt_rbac"),
        (401, "Must provide an API key or an Authorization bearer token", "give the server's key"),
        (400, 'Bad request: Limit exceeded 300 > 100 for "limit". Help: x', "max_query_limit"),
        (400, 'Bad request: Limit exceeded 4 > 3 for "search batch size". Help: x', "search_max_batchsize"),
        (400, 'Bad request: Limit exceeded 9 > 3 for "upsert limit". Help: x', "upsert_max_batchsize"),
        (400, 'Bad request: Limit exceeded 60 > 30 for "timeout". Help: x', "max_timeout"),
        (400, 'Bad request: Limit exceeded 2.5 > 1.5 for "oversampling". Help: x', "1.5 for oversampling"),
        (400, "Bad request: Exact search disabled!. Help: Set exact=false.", "search_allow_exact"),
        (400, "Bad request: Filter condition limit reached (5 > 3). Help: x", "filter_max_conditions"),
        (400, "Bad request: Condition size limit reached (5 > 3). Help: x", "condition_max_size"),
        (400, "Bad request: Max points count limit of 10 reached!", "max_points_count"),
        (
            400,
            "Bad request: Max vector storage size limit of 1MB reached!",
            "max_collection_vector_size_bytes",
        ),
        (
            400,
            "Bad request: Max payload storage size limit of 1MB reached!",
            "max_collection_payload_size_bytes",
        ),
        (400, "Multivector 'patches' has a limit of 5 vectors, but 6 were provided!", "multivector_config"),
        (400, "Sparse vector 'bm25' has a limit of 4 indices, but 5 were provided!", "sparse_config"),
        (
            400,
            "Collection already has the maximum number of payload indices (3).",
            "max_payload_index",
        ),
        (400, "Resident memory usage is at 95% of total memory", "max_resident_memory_percent"),
        (429, "Rate limiting exceeded: Write rate limit exceeded, request larger than", "write_rate_limit"),
        (429, "Rate limiting exceeded: Read rate limit exceeded: Operation requires 5", "read_rate_limit"),
    ],
)
def test_every_refusal_says_what_to_do(status: int, message: str, part: str):
    hint = Failure(status, message).hint
    assert part in hint
    assert "too old" not in hint
    assert "{" not in hint


def test_an_old_server_is_called_old_only_where_it_does_not_understand():
    words = "Format error in JSON body: unknown variant `turbo8`, expected one of `float32`, `float16`"
    assert "too old" in Failure(400, words).hint
    assert refusal_hint("Wrong input: Vector dimension error") == ""
    assert "too old" not in HINTS[400]
