from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from pydantic import TypeAdapter
from qdrant_client import grpc as proto
from qdrant_client import models
from qdrant_client.conversions.conversion import GrpcToRest

from docrag.store.server.read import record_from_json
from docrag.store.server.wire import (
    GrpcWire,
    JsonWire,
    PackedPoint,
    Wire,
    batches,
)
from docrag.types import PageRecord, SparseVector
from tests.store.local_mode import ModelWire

Make = Callable[[int], PageRecord]
WIRES: dict[str, Wire] = {"json": JsonWire(None), "grpc": GrpcWire(None, 1), "model": ModelWire(None)}


def as_point(name: str, packed: PackedPoint) -> models.PointStruct:
    """A point as the server understands it."""
    if name == "json":
        return TypeAdapter(models.PointStruct).validate_json(packed.point)
    if name == "grpc":
        return GrpcToRest.convert_point_struct(proto.PointStruct.FromString(packed.point.SerializeToString()))
    return packed.point


@pytest.mark.parametrize("name", WIRES)
def test_a_page_arrives_as_it_was_sent(record: Make, name: str):
    page = record(7)
    point = as_point(name, WIRES[name].pack(page))
    found = record_from_json(point.model_dump())
    assert (found.id, found.payload) == (page.id, page.payload)
    assert set(found.vectors) == set(page.vectors)
    for key, vector in page.vectors.items():
        if isinstance(vector, SparseVector):
            assert found.vectors[key].indices == vector.indices
            assert found.vectors[key].values == pytest.approx(vector.values)
        else:
            assert found.vectors[key].shape == vector.shape
            np.testing.assert_allclose(
                found.vectors[key], vector, atol=5.1e-6 if name == "json" and vector.ndim == 2 else 0
            )


@pytest.mark.parametrize("name", ["json", "grpc"])
def test_the_size_is_that_of_what_is_sent(record: Make, name: str):
    packed = WIRES[name].pack(record(3))
    content = packed.point if name == "json" else packed.point.SerializeToString()
    assert 0 <= packed.size - len(content) <= 8


def test_a_colpali_page_has_about_a_megabyte_as_json_and_half_of_it_by_grpc():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(1030, 128)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    page = PageRecord("6f3c1c0e-53a8-5d0b-9d0c-6c2f1c3a5e11", {"patches": rows}, {"page_content": ""})
    assert WIRES["json"].pack(page).size < 1.2e6
    assert WIRES["grpc"].pack(page).size < 0.55e6


def test_numbers_of_one_digit_and_letters_outside_ascii_are_json():
    rows = np.eye(2, 3, dtype=np.float32)
    payload = {"page_content": 'Straße "quoted"\n\u2028', "metadata": {"page": 0, "none": None}}
    page = PageRecord("6f3c1c0e-53a8-5d0b-9d0c-6c2f1c3a5e11", {"patches": -rows}, payload)
    point = json.loads(WIRES["json"].pack(page).point)
    assert point["vector"]["patches"] == (-rows).tolist()
    assert point["payload"] == payload


def packed(record: PageRecord, size: int) -> PackedPoint:
    return PackedPoint(record, None, size)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([5], [[5]]),
        ([4, 4, 2, 1], [[4, 4, 2], [1]]),
        ([11, 1, 9, 1], [[11], [1, 9], [1]]),
        ([10, 10], [[10], [10]]),
    ],
)
def test_batches_are_cut_by_bytes(record: Make, sizes: list[int], expected: list[list[int]]):
    points = (packed(record(0), size) for size in sizes)
    assert [[point.size for point in batch] for batch in batches(points, 10)] == expected


def test_a_batch_is_given_before_the_next_page_but_one_is_made(record: Make):
    made = []

    def points():
        for number in range(4):
            made.append(number)
            yield packed(record(0), 6)

    next(batches(points(), 10))
    assert made == [0, 1]
