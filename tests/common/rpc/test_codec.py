from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest

from docrag.common.rpc.codec import Codec, Json
from docrag.types import Block, PageRecord, Region, SparseVector

CODEC = Codec((Block, PageRecord, Region, SparseVector), raw_json={"PageRecord": ("payload",)})


def sent(value: object) -> object:
    """The value as the other side sees it."""
    header, buffers = CODEC.encode(value)
    return CODEC.decode(header, [memoryview(bytearray(buffer)) for buffer in buffers])


@pytest.mark.parametrize(
    "value",
    [
        None,
        -1,
        2**62,
        0.1,
        "Wärme \N{SNOWMAN}",
        b"\x00\xff",
        [1, [2.5, None]],
        (1, ("a", ())),
        {"a": (1,), "$": "tuple", "of": {"b": b""}},
        Path("/srv/docs"),
        Block("text", (0.0, 0.25, 0.5, 1.0), 0.02),
        [Region((0.0, 0.0, 1.0, 1.0), 0.5, "a"), SparseVector((1, 7), (0.5, 2.0))],
    ],
)
def test_a_value_arrives_as_it_was_sent(value: object):
    arrived = sent(value)
    assert arrived == value
    assert type(arrived) is type(value)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64, np.bool_])
@pytest.mark.parametrize("shape", [(0, 3), (4,), (2, 3), ()])
def test_arrays_keep_type_shape_and_bits(dtype: type, shape: tuple[int, ...]):
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    arrived = sent({"of": array})
    assert isinstance(arrived, dict)
    assert arrived["of"].dtype == array.dtype
    np.testing.assert_array_equal(arrived["of"], array)


def test_an_array_that_is_a_view_is_sent_as_it_looks():
    array = np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2].T
    np.testing.assert_array_equal(sent(array), array)


def test_a_payload_is_a_users_own_and_never_read_as_something_else():
    payload = {"$": "path", "of": "/etc/passwd", "nested": [{"$": "bytes", "of": 0}]}
    record = PageRecord("id", {"patches": np.ones((2, 3), np.float32)}, payload)
    arrived = sent([record])
    assert isinstance(arrived, list)
    assert arrived[0].payload == payload
    assert sent(Json(payload)) == payload


def test_what_may_not_travel_is_refused():
    with pytest.raises(TypeError, match="object cannot be sent"):
        CODEC.encode([object()])
    with pytest.raises(ValueError, match="Hit, which this version does not know"):
        CODEC.decode(b'{"$": "Hit", "of": []}', [])


@pytest.mark.parametrize(
    "value",
    [
        Path(os.fsdecode(b"/srv/caf\xe9/page.jpg")),
        "a lone surrogate: \udcff",
        [math.inf, -math.inf],
        Json({"file_name": "\udce9.pdf"}),
    ],
)
def test_what_json_does_not_know_arrives_too(value: object):
    assert sent(value) == (value.value if isinstance(value, Json) else value)


def test_not_a_number_stays_one():
    arrived = sent([math.nan])
    assert isinstance(arrived, list)
    assert math.isnan(arrived[0])
