from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from qdrant_client import grpc as proto
from qdrant_client.conversions.conversion import GrpcToRest

from docrag.errors import StoreError
from docrag.store.server.vectors import (
    from_json,
    from_message,
    multi_dense,
    query_json,
    query_message,
    stored_json,
)
from docrag.types import SparseVector
from tests.store.fake_grpc import flatten_vector

SHAPES = [(1, 1), (3, 31), (2, 32), (5, 128), (2, 5000)]
SPARSE = SparseVector((3, 9, 700), (1.0, 0.5, 0.25))


def rows_of(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def output(message: Any, flat: bool) -> Any:
    """A VectorOutput that has been over the wire, in the form of Qdrant 1.17 or of 1.16."""
    if flat:
        flatten_vector(message)
    return proto.VectorOutput.FromString(message.SerializeToString())


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_are_written_as_protobuf_writes_them(shape: tuple[int, int]):
    rows = rows_of(shape)
    by_protobuf = proto.MultiDenseVector(vectors=[proto.DenseVector(data=row.tolist()) for row in rows])
    assert multi_dense(rows).SerializeToString() == by_protobuf.SerializeToString()
    assert multi_dense(np.asfortranarray(rows)) == by_protobuf
    assert multi_dense(rows[::-1][::-1]) == by_protobuf


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_multi_vector_is_read_from_both_forms_of_answers(shape: tuple[int, int], flat: bool):
    rows = rows_of(shape)
    found = from_message(output(proto.VectorOutput(multi_dense=multi_dense(rows)), flat))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, rows)
    found[0, 0] = 2  # the array is one's own, and may be changed


@pytest.mark.parametrize("flat", [False, True])
def test_dense_and_sparse_vectors_are_read_from_both_forms_of_answers(flat: bool):
    dense = rows_of((384,))
    message = proto.VectorOutput(dense=proto.DenseVector(data=dense.tolist()))
    np.testing.assert_array_equal(from_message(output(message, flat)), dense)
    sparse = proto.SparseVector(indices=SPARSE.indices, values=SPARSE.values)
    assert from_message(output(proto.VectorOutput(sparse=sparse), flat)) == SPARSE


@pytest.mark.parametrize(
    "lengths", [(3, 2), (2, 3), (3, 3, 2), (2, 3, 4), (0, 3), (3, 0), (0, 0), (40, 20, 30), ()]
)
def test_rows_of_different_lengths_are_refused(lengths: tuple[int, ...]):
    rows = [proto.DenseVector(data=[0.5] * length) for length in lengths]
    message = output(proto.VectorOutput(multi_dense=proto.MultiDenseVector(vectors=rows)), flat=False)
    with pytest.raises(StoreError, match="cannot be read"):
        from_message(message)


@pytest.mark.parametrize(("count", "rows"), [(7, 2), (0, 1), (4, 0)])
def test_numbers_that_do_not_fill_their_rows_are_refused(count: int, rows: int):
    with pytest.raises(StoreError, match=f"{count} numbers in {rows} rows"):
        from_message(proto.VectorOutput(data=[0.5] * count, vectors_count=rows))


@pytest.mark.parametrize("shape", [*SHAPES, (384,)])
def test_an_array_is_read_from_json_as_it_was_written(shape: tuple[int, ...]):
    vector = rows_of(shape)
    found = from_json(orjson.loads(orjson.dumps(query_json(vector), option=orjson.OPT_SERIALIZE_NUMPY)))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, vector)


def test_a_sparse_vector_is_read_from_json():
    assert from_json(json.loads(orjson.dumps(query_json(SPARSE)))) == SPARSE


@pytest.mark.parametrize(
    "value",
    [[[0.5, 1.0], [0.5]], [[0.5], [0.5, 1.0]], [[0.5, None]], [[0.5], None], [0.5, "x"], {"indices": [1]}],
)
def test_json_that_is_no_vector_is_refused(value: Any):
    with pytest.raises(StoreError, match="cannot be read"):
        from_json(value)


def test_a_page_is_rounded_in_json_and_a_query_is_not():
    rows = rows_of((4, 8))
    np.testing.assert_array_equal(stored_json(rows), np.round(rows, 5))
    np.testing.assert_array_equal(query_json(rows), rows)


def test_a_query_is_written_to_protobuf_as_it_is():
    rows = rows_of((20, 384))
    assert query_message(rows).nearest.multi_dense == multi_dense(rows)
    assert query_message(rows[0]).nearest.dense.data == rows[0].tolist()
    sparse = query_message(SPARSE).nearest.sparse
    assert (tuple(sparse.indices), tuple(sparse.values)) == (SPARSE.indices, SPARSE.values)


def test_rows_are_read_several_times_as_fast_as_through_the_clients_lists():
    """Of CPU time, so that other work on the machine does not count; 30 times or more were measured."""
    message = proto.VectorOutput(multi_dense=multi_dense(rows_of((1000, 384))))

    def cpu_seconds(read: Callable[[], Any]) -> float:
        turns = []
        for _ in range(5):
            started = time.process_time()
            read()
            turns.append(time.process_time() - started)
        return min(turns)

    ours = cpu_seconds(lambda: from_message(message))
    theirs = cpu_seconds(lambda: np.array(GrpcToRest.convert_vector_output(message), np.float32))
    assert 5 * ours < theirs
