"""Attention in windows: the same as one window after the other, in a few steps."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from docrag.encode.base import EncoderOptions
from docrag.encode.registry import page_encoder
from docrag.encode.runtime import windows
from docrag.encode.runtime.windows import attend, windows_by_length
from tests.samples import picture_page


@pytest.mark.parametrize("lengths", [[64], [1, 1, 1], [4, 2, 4, 2, 1, 4], [3, 5, 7]])
def test_it_is_attention_within_each_window(lengths):
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 1, 2, sum(lengths), 8)
    bounds = torch.tensor([0, *lengths]).cumsum(0)
    mixed, weights = attend(None, query, key, value, None, scaling=0.3, cu_seq_lens_q=bounds, is_causal=False)
    parts = zip(*(each.split(lengths, dim=2) for each in (query, key, value)), strict=True)
    one_by_one = torch.cat([scaled_dot_product_attention(*part, scale=0.3) for part in parts], dim=2)
    torch.testing.assert_close(mixed, one_by_one.transpose(1, 2))
    assert weights is None


def test_every_token_has_one_place():
    tokens = windows_by_length((0, 4, 6, 10, 12), torch.device("cpu"))
    assert [group.shape for group in tokens] == [(2, 4), (2, 2)]
    assert sorted(torch.cat([group.flatten() for group in tokens]).tolist()) == list(range(12))


@pytest.mark.parametrize(("family", "steps"), [("colqwen2.5", True), ("colqwen2", False), ("clip", False)])
def test_models_with_windows_attend_so(checkpoint, monkeypatch, family, steps):
    seen = []
    original = windows.windows_by_length

    def recorded(*args):
        seen.append(original(*args))
        return seen[-1]

    monkeypatch.setattr(windows, "windows_by_length", recorded)
    encoder = page_encoder(checkpoint(family), EncoderOptions(device="cpu", dtype="float32", batch_size=2))
    encoder.encode_pages([picture_page(1), picture_page(2)])
    assert bool(seen) is steps
    if steps:  # the first of its two layers has windows, more of them than there are lengths
        assert sum(map(len, seen[0])) > len(seen[0])
