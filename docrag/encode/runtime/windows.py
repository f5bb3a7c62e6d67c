"""Attention within the windows of an image tower: all windows of one length at once, not one after the other.

Qwen2.5-VL cuts a page into some sixty windows. Without flash attention transformers attends within each by
itself, in every layer: so many small steps that an H100 was idle for most of the time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

WINDOWED = ("qwen2_5_vl_vision",)
"""Types of the image towers that have windows."""
NAME = "docrag_in_place_of_flash"
"""Of `attend` among the kinds of attention; transformers tells windows to those named after flash alone."""


def attend_by_length(model: torch.nn.Module) -> None:
    """Have the image towers of a model with windows attend within all windows of a length at once.

    The vectors stay the same. Those that have flash attention are left as they are: it knows windows.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)
    for module in model.modules():
        config: Any = getattr(module, "config", None)
        if getattr(config, "model_type", "") in WINDOWED and config._attn_implementation == "sdpa":
            config._attn_implementation = NAME


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    *,
    scaling: float,
    cu_seq_lens_q: torch.Tensor,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of each token to those of its window, as transformers asks flash attention for it.

    Args:
        module: Of transformers.
        query: (1, heads, tokens, width), as are key and value.
        key: Compared with the query.
        value: What is mixed.
        attention_mask: There is none.
        scaling: Of the products.
        cu_seq_lens_q: (windows + 1,) where each window begins, and where the last one ends.
        others: What flash attention wants to know beside.

    Returns:
        (1, tokens, heads, width), and no weights.
    """
    rows = [each[0].transpose(0, 1) for each in (query, key, value)]
    mixed = torch.empty_like(rows[2], memory_format=torch.contiguous_format)
    for at in places(tuple(cu_seq_lens_q.tolist()), query.device):
        asks, keys, values = (each[at].transpose(1, 2) for each in rows)
        mixed[at] = scaled_dot_product_attention(asks, keys, values, scale=scaling).transpose(1, 2)
    return mixed[None], None


@lru_cache(maxsize=4)
def places(bounds: Sequence[int], device: torch.device) -> list[torch.Tensor]:
    """For each length of window, (windows, length) the tokens in those that have it.

    Args:
        bounds: Where each window begins, and where the last one ends.
        device: Where the tokens are.

    >>> [at.tolist() for at in places((0, 2, 3, 5), torch.device("cpu"))]
    [[[0, 1], [3, 4]], [[2]]]
    """
    begins = defaultdict(list)
    for begin, end in pairwise(bounds):
        begins[end - begin].append(begin)
    return [
        (torch.tensor(of_length)[:, None] + torch.arange(length)).to(device)
        for length, of_length in begins.items()
    ]
