from __future__ import annotations

import json

import numpy as np
import pytest

from docrag.store.packing import BlockPosition, pack_blocks, pack_boxes, unpack_blocks, unpack_boxes


def test_blocks_come_back_as_they_were_rounded_to_four_decimals():
    rng = np.random.default_rng(0)
    boxes = rng.uniform(-0.01, 1.01, (500, 4)).tolist()  # a box may reach a little beyond its page
    blocks = [BlockPosition(tuple(box), 10 * row, 10 * row + 9) for row, box in enumerate(boxes)]
    assert unpack_blocks(pack_blocks(blocks)) == [
        BlockPosition(tuple(round(value, 4) for value in block.box), block.start, block.end)
        for block in blocks
    ]


def test_no_blocks_come_back_as_none():
    assert unpack_blocks(pack_blocks([])) == unpack_blocks([]) == []


def test_blocks_of_older_indexes_are_read():
    assert unpack_blocks([[0.1, 0.2, 0.3, 0.4, 0, 7], [0, 0, 1, 1, 8.0, 9.0]]) == [
        BlockPosition((0.1, 0.2, 0.3, 0.4), 0, 7),
        BlockPosition((0, 0, 1, 1), 8, 9),
    ]


def test_packed_blocks_are_one_short_text():
    rows = np.linspace(0.1, 0.9, 20)
    blocks = [
        BlockPosition((0.12, y, 0.88, y + 0.03), 300 * row, 300 * row + 299) for row, y in enumerate(rows)
    ]
    as_numbers = [[round(value, 4) for value in block.box] + [block.start, block.end] for block in blocks]
    assert len(pack_blocks(blocks)) < len(json.dumps(as_numbers)) / 2


@pytest.mark.parametrize("rows", [0, 1, 1030])
def test_boxes_come_back(rows: int):
    boxes = np.random.default_rng(rows).uniform(0, 1, (rows, 4)).astype(np.float32)
    found = unpack_boxes(pack_boxes(boxes))
    assert (found.shape, found.dtype) == (boxes.shape, np.float32)
    np.testing.assert_allclose(found, boxes, atol=1 / 65534)
