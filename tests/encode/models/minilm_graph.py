"""Writes docrag/encode/models/minilm.onnx, the graph of minilm for ONNX Runtime, without its weights.

    python -m tests.encode.models.minilm_graph

The graph is BERT (Devlin et al. 2018) without its pooler. Its initializers have the names and shapes of the
tensors in model.safetensors, and no data: docrag gives ONNX Runtime the tensors of that file.

Attention, Gelu and the sum that each layer norm begins with are operators of ONNX Runtime's own, which has no
faster ones on a CPU. Rows of all texts lie in one matrix, so that each linear layer is one Gemm, which takes
weights as safetensors keeps them, (out, in); a MatMul would need a transposed copy.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from docrag.encode.models import minilm_onnx
from docrag.encode.models.minilm_model import PAD, weights_directory

OPSET = 17
IR_VERSION = 9
"""Old enough for every ONNX Runtime that docrag accepts."""
MICROSOFT = "com.microsoft"


class BertGraph:
    """Collects the nodes and initializers of the graph.

    Args:
        config: The model's config.json.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.dim: int = config["hidden_size"]
        self.inner: int = config["intermediate_size"]
        self.heads: int = config["num_attention_heads"]
        self.eps: float = config["layer_norm_eps"]
        self.layers: int = config["num_hidden_layers"]
        self.words: int = config["vocab_size"]
        self.positions: int = config["max_position_embeddings"]
        self.segments: int = config["type_vocab_size"]

    def model(self) -> onnx.ModelProto:
        """The whole model, from ids (batch, length), padded on the right, to states (batch, length, dim)."""
        self._constants()
        rows = self._embeddings()
        for i in range(self.layers):
            rows = self._layer(rows, f"encoder.layer.{i}")
        self._add("Reshape", [rows, "shape"], "states")
        ids = helper.make_tensor_value_info("ids", TensorProto.INT32, ["batch", "length"])
        states = helper.make_tensor_value_info("states", TensorProto.FLOAT, ["batch", "length", self.dim])
        graph = helper.make_graph(self.nodes, "minilm", [ids], [states], self.initializers)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="docrag", producer_version="1"
        )

    def _constants(self) -> None:
        """What all layers share: shapes, and the number of tokens of each text."""
        self._constant("pad", np.array(PAD, np.int32))
        self._constant("zero", np.array([0], np.int64))
        self._constant("one", np.array([1], np.int64))
        self._constant("dim", np.array([self.dim], np.int64))
        self._constant("rows", np.array([-1, self.dim], np.int64))
        self._add("Shape", ["ids"], "batch_and_length")
        self._add("Concat", ["batch_and_length", "dim"], "shape", axis=0)
        self._add("Equal", ["ids", "pad"], "is_padding")
        self._add("Not", ["is_padding"], "is_token")
        self._add("Cast", ["is_token"], "ones", to=TensorProto.INT32)
        self._add("ReduceSum", ["ones", "one"], "lengths", keepdims=0)

    def _embeddings(self) -> str:
        """The rows that the first layer gets: (batch * length, dim)."""
        names = [f"embeddings.{kind}_embeddings.weight" for kind in ("word", "position", "token_type")]
        for name, count in zip(names, (self.words, self.positions, self.segments), strict=True):
            self._weight(name, count, self.dim)
        word, position, segment = names
        self._add("Gather", [word, "ids"], "words")
        self._add("Shape", ["ids"], "length", start=1, end=2)
        self._add("Slice", [position, "zero", "length", "zero"], "places")
        self._add("Slice", [segment, "zero", "one", "zero"], "first_segment")  # texts have one segment only
        self._add("Add", ["places", "first_segment"], "placed")
        self._add("Add", ["words", "placed"], "embedded")
        norm = self._affine("embeddings.LayerNorm", self.dim)
        self._add("LayerNormalization", ["embedded", *norm], "normalised", epsilon=self.eps)
        return self._add("Reshape", ["normalised", "rows"], "embeddings")

    def _layer(self, rows: str, name: str) -> str:
        """One transformer layer."""
        heads = [
            self._add("Reshape", [self._linear(rows, f"{name}.attention.self.{part}"), "shape"])
            for part in ("query", "key", "value")
        ]
        mixed = self._own("MultiHeadAttention", [*heads, "", "lengths"], num_heads=self.heads)
        mixed = self._add("Reshape", [mixed, "rows"])
        attended = self._linear(mixed, f"{name}.attention.output.dense")
        rows = self._norm_of_sum(rows, attended, f"{name}.attention.output.LayerNorm")
        inner = self._own("Gelu", [self._linear(rows, f"{name}.intermediate.dense", self.dim, self.inner)])
        output = self._linear(inner, f"{name}.output.dense", self.inner, self.dim)
        return self._norm_of_sum(rows, output, f"{name}.output.LayerNorm")

    def _linear(self, rows: str, name: str, into: int = 0, out: int = 0) -> str:
        """Rows times a matrix, plus its bias."""
        return self._add("Gemm", [rows, *self._affine(name, out or self.dim, into or self.dim)], transB=1)

    def _norm_of_sum(self, rows: str, added: str, name: str) -> str:
        """The layer norm of a sum."""
        inputs = [rows, added, *self._affine(name, self.dim)]
        return self._own("SkipLayerNormalization", inputs, epsilon=self.eps)

    def _affine(self, name: str, *shape: int) -> tuple[str, str]:
        """Weight and bias of a matrix or of a layer norm."""
        self._weight(f"{name}.weight", *shape)
        self._weight(f"{name}.bias", shape[0])
        return f"{name}.weight", f"{name}.bias"

    def _weight(self, name: str, *shape: int) -> None:
        """A tensor of model.safetensors."""
        tensor = TensorProto(
            name=name, data_type=TensorProto.FLOAT, dims=shape, data_location=TensorProto.EXTERNAL
        )
        tensor.external_data.add(key="location", value="model.safetensors")
        self.initializers.append(tensor)

    def _constant(self, name: str, value: np.ndarray) -> None:
        self.initializers.append(numpy_helper.from_array(value, name))

    def _add(self, op: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        """A node; returns the name of its output."""
        output = output or f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def _own(self, op: str, inputs: list[str], **attributes: Any) -> str:
        """A node with one of ONNX Runtime's own operators."""
        return self._add(op, inputs, domain=MICROSOFT, **attributes)


def build() -> bytes:
    """The content of the file."""
    config = json.loads((weights_directory() / "config.json").read_text())
    return BertGraph(config).model().SerializeToString(deterministic=True)


if __name__ == "__main__":
    Path(minilm_onnx.GRAPH).write_bytes(build())
