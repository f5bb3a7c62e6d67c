"""minilm in torch: on a GPU, and on CPUs that multiply bfloat16, where it is twice as fast as in float32."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController
from torch import Tensor

from docrag.encode.models.minilm_onnx import map_file, tensors_in

FEW_TOKENS = 256
"""Up to this many tokens are encoded on one core: several cores would wait for each other longer than they
compute, all the more while other threads search. On two busy cores, one gave 15 to 50 % more queries a
second."""

_MATRICES = "attention.self.query attention.self.key attention.self.value attention.output.dense".split()
_MATRICES += ["intermediate.dense", "output.dense"]
_NORMS = ["attention.output.LayerNorm", "output.LayerNorm"]


class Affine(NamedTuple):
    """Weight and bias of a matrix or of a layer norm."""

    weight: Tensor
    bias: Tensor


class BertLayer(NamedTuple):
    """One transformer layer; query, key and value are joined in one matrix, which is faster."""

    qkv: Affine
    attended: Affine
    attended_norm: Affine
    up: Affine
    down: Affine
    norm: Affine


class TorchBert:
    """The forward pass of BERT (Devlin et al. 2018), without its pooler, in torch alone.

    transformers computes the same (a test compares the two) but takes 3 to 5 seconds to import, most of the
    time that a user would wait for `docrag search`.

    Args:
        directory: Contains config.json and model.safetensors, in the format of transformers' BertModel.
        dtype: The precision.
        device: The device, as torch names it.
    """

    batch_tokens = 4096
    """Padded tokens per forward pass; the fastest of 2,048 to 16,384 on two cores."""

    def __init__(self, directory: Path, dtype: torch.dtype = torch.float32, device: str = "cpu") -> None:
        self._device = device
        config = json.loads((directory / "config.json").read_text())
        self.heads: int = config["num_attention_heads"]
        self.dim: int = config["hidden_size"]
        self.eps: float = config["layer_norm_eps"]
        weights: dict[str, Tensor] = {
            name: torch.tensor(values).to(device, dtype)
            for name, values in tensors_in(map_file(directory / "model.safetensors")).items()
        }

        def affine(name: str) -> Affine:
            return Affine(weights[f"{name}.weight"], weights[f"{name}.bias"])

        self.words = weights["embeddings.word_embeddings.weight"]
        self.positions = (
            weights["embeddings.position_embeddings.weight"]
            + weights["embeddings.token_type_embeddings.weight"][0]  # texts have one segment only
        )
        self.embedding_norm = affine("embeddings.LayerNorm")
        self.layers = []
        for i in range(config["num_hidden_layers"]):
            query, key, value, attended, up, down = (affine(f"encoder.layer.{i}.{m}") for m in _MATRICES)
            attended_norm, norm = (affine(f"encoder.layer.{i}.{n}") for n in _NORMS)
            qkv = Affine(*(torch.cat(parts) for parts in zip(query, key, value, strict=True)))
            self.layers.append(BertLayer(qkv, attended, attended_norm, up, down, norm))

    def hidden_states(self, batches: Sequence[NDArray[np.int32]]) -> list[NDArray[np.float32]]:
        """The last hidden states of each batch of token ids; see BertRuntime."""
        if sum(ids.size for ids in batches) > FEW_TOKENS:
            return [self._forward(ids) for ids in batches]
        with _openmp().limit(limits=1):  # affects this thread alone
            return [self._forward(ids) for ids in batches]

    def _forward(self, ids: NDArray[np.int32]) -> NDArray[np.float32]:
        tokens = torch.from_numpy(ids).to(self._device, torch.int64)
        mask = tokens != 0
        states = self(tokens, None if bool(mask.all()) else mask)
        output: NDArray[np.float32] = states.float().cpu().numpy()
        return output

    def __call__(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encode a batch.

        Args:
            ids: (batch, length) token ids, padded on the right.
            mask: (batch, length) True where there is a token; None if nothing is padded.

        Returns:
            (batch, length, dim) last hidden states; those of padding are meaningless.
        """
        functional: Any = torch.nn.functional
        with torch.inference_mode():
            keys = None if mask is None else mask[:, None, None, :]  # (batch, 1, 1, length)
            x = self._normalise(self.words[ids] + self.positions[: ids.shape[1]], self.embedding_norm)
            for layer in self.layers:
                x = self._normalise(x + self._attend(x, layer, keys), layer.attended_norm)
                inner = functional.gelu(functional.linear(x, *layer.up))
                x = self._normalise(x + functional.linear(inner, *layer.down), layer.norm)
            return x

    def _normalise(self, x: Tensor, norm: Affine) -> Tensor:
        return torch.nn.functional.layer_norm(x, (self.dim,), norm.weight, norm.bias, self.eps)

    def _attend(self, x: Tensor, layer: BertLayer, keys: Tensor | None) -> Tensor:
        functional: Any = torch.nn.functional
        batch, length, _ = x.shape
        qkv = functional.linear(x, *layer.qkv).view(batch, length, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (batch, heads, length, dim / heads)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=keys)
        attended: Tensor = functional.linear(
            mixed.transpose(1, 2).reshape(batch, length, self.dim), *layer.attended
        )
        return attended


@cache
def _openmp() -> ThreadpoolController:
    """Controls the threads that torch computes with."""
    return ThreadpoolController().select(user_api="openmp")
