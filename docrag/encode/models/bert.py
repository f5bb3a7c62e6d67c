"""The forward pass of BERT (Devlin et al. 2018) in torch alone.

transformers computes the same (a test holds the two together) but takes 3 to 5 seconds to import, which is
most of what a person waits for `docrag search`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

MATRICES = "attention.self.query attention.self.key attention.self.value attention.output.dense".split()
MATRICES += ["intermediate.dense", "output.dense"]
NORMS = ["attention.output.LayerNorm", "output.LayerNorm"]


class Affine(NamedTuple):
    """Weight and bias, of a matrix or of a layer norm."""

    weight: Tensor
    bias: Tensor


class Layer(NamedTuple):
    """One transformer layer; query, key and value are one matrix, which is faster."""

    qkv: Affine
    attended: Affine
    attended_norm: Affine
    up: Affine
    down: Affine
    norm: Affine


class Bert:
    """A BERT encoder without its pooler.

    Args:
        directory: Holds config.json and model.safetensors, in the layout of transformers' BertModel.
        dtype: What it computes in.
        device: Where, as torch names it.
    """

    def __init__(self, directory: Path, dtype: torch.dtype = torch.float32, device: str = "cpu") -> None:
        config = json.loads((directory / "config.json").read_text())
        self.heads: int = config["num_attention_heads"]
        self.dim: int = config["hidden_size"]
        self.eps: float = config["layer_norm_eps"]
        stored = load_file(directory / "model.safetensors")
        weights = {
            name: tensor.to(device, dtype) for name, tensor in stored.items() if tensor.is_floating_point()
        }

        def affine(name: str) -> Affine:
            return Affine(weights[f"{name}.weight"], weights[f"{name}.bias"])

        self.words = weights["embeddings.word_embeddings.weight"]
        self.positions = (
            weights["embeddings.position_embeddings.weight"]
            + weights["embeddings.token_type_embeddings.weight"][0]  # one segment only
        )
        self.embedding_norm = affine("embeddings.LayerNorm")
        self.layers = []
        for i in range(config["num_hidden_layers"]):
            query, key, value, attended, up, down = (affine(f"encoder.layer.{i}.{m}") for m in MATRICES)
            attended_norm, norm = (affine(f"encoder.layer.{i}.{n}") for n in NORMS)
            qkv = Affine(*(torch.cat(parts) for parts in zip(query, key, value, strict=True)))
            self.layers.append(Layer(qkv, attended, attended_norm, up, down, norm))

    @torch.inference_mode()
    def __call__(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encode a batch.

        Args:
            ids: (batch, length) token ids, right padded.
            mask: (batch, length) True where there is a token; None where nothing is padded.

        Returns:
            (batch, length, dim) last hidden states; those of padding mean nothing.
        """
        keys = None if mask is None else mask[:, None, None, :]  # (batch, 1, 1, length)
        x = self._normalise(self.words[ids] + self.positions[: ids.shape[1]], self.embedding_norm)
        for layer in self.layers:
            x = self._normalise(x + self._attend(x, layer, keys), layer.attended_norm)
            x = self._normalise(x + F.linear(F.gelu(F.linear(x, *layer.up)), *layer.down), layer.norm)
        return x

    def _normalise(self, x: Tensor, norm: Affine) -> Tensor:
        return F.layer_norm(x, (self.dim,), norm.weight, norm.bias, self.eps)

    def _attend(self, x: Tensor, layer: Layer, keys: Tensor | None) -> Tensor:
        batch, length, _ = x.shape
        qkv = F.linear(x, *layer.qkv).view(batch, length, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (batch, heads, length, dim / heads)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=keys)
        return F.linear(mixed.transpose(1, 2).reshape(batch, length, self.dim), *layer.attended)
