"""Attention within the windows of a vision tower, computed for all windows of the same length at once.

Qwen2.5-VL divides a page into about sixty windows. Without flash attention, transformers computes the
attention of each window separately in every layer: so many small operations that an H100 was idle most of the
time.
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
"""The model types of vision towers that have windows."""
NAME = "docrag_in_place_of_flash"
"""The name under which transformers knows `attend`. It must contain "flash": transformers passes the windows
only to implementations with that in their name."""


def attend_by_length(model: torch.nn.Module) -> None:
    """Let the windowed vision towers of a model compute all windows of the same length at once.

    The vectors stay the same. Towers that use flash attention are left as they are, since it handles windows.
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
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of each token to those of its window, with the interface of flash attention in transformers.

    Args:
        module: The attention module.
        query: (1, heads, tokens, width), as are key and value.
        key: The keys.
        value: The values.
        attention_mask: Always None.
        scaling: Factor of the dot products.
        cu_seq_lens_q: (windows + 1,) the first token of each window, and the end of the last one.
        kwargs: Other arguments of flash attention, which are not needed.

    Returns:
        (1, tokens, heads, width), and None in place of the attention weights.
    """
    queries, keys, values = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    output = torch.empty_like(values, memory_format=torch.contiguous_format)
    for tokens in windows_by_length(tuple(cu_seq_lens_q.tolist()), query.device):
        q, k, v = (rows[tokens].transpose(1, 2) for rows in (queries, keys, values))
        output[tokens] = scaled_dot_product_attention(q, k, v, scale=scaling).transpose(1, 2)
    return output[None], None


@lru_cache(maxsize=4)
def windows_by_length(bounds: Sequence[int], device: torch.device) -> list[torch.Tensor]:
    """The tokens of the windows: one tensor (windows, length) for each length that occurs.

    Args:
        bounds: The first token of each window, and the end of the last one.
        device: Where the tokens are.

    >>> [tokens.tolist() for tokens in windows_by_length((0, 2, 3, 5), torch.device("cpu"))]
    [[[0, 1], [3, 4]], [[2]]]
    """
    starts_by_length = defaultdict(list)
    for start, end in pairwise(bounds):
        starts_by_length[end - start].append(start)
    return [
        (torch.tensor(starts)[:, None] + torch.arange(length)).to(device)
        for length, starts in starts_by_length.items()
    ]
