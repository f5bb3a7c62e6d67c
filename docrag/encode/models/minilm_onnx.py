"""minilm on ONNX Runtime, in float32 on a CPU: it is loaded in a tenth of the time of torch.

The graph, minilm.onnx, has no weights; tests/encode/models/minilm_graph.py writes it. ONNX Runtime gets them
from a memory map of model.safetensors, so all processes of a machine share one copy of what it reads there.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from docrag.encode.runtime.threads import thread_count

GRAPH = Path(__file__).with_name("minilm.onnx")
UNUSED = "pooler."
"""How the names of tensors begin that the graph does not have; ONNX Runtime would refuse them."""


class OnnxBert:
    """The forward pass of BERT, in threads that each compute a batch of their own.

    A session has no threads of its own. Those of ONNX Runtime wait for each other after every operator, and a
    process that forks loses them: its child would wait for ever.

    Args:
        directory: Contains model.safetensors, in the format of transformers' BertModel.
    """

    batch_tokens = 516
    """Padded tokens per forward pass, two whole windows of a page. Matrices of 1,024 tokens took 7 % longer
    per token on one core, and those of 2,048 took 25 % longer: they do not stay in its cache."""

    def __init__(self, directory: Path) -> None:
        # Set before onnxruntime is loaded, which would otherwise send usage data to its maker.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only
        content = map_file(directory / "model.safetensors")
        tensors = tensors_in(content)
        weights = {name: value for name, value in tensors.items() if not name.startswith(UNUSED)}
        # The session neither copies these values nor keeps them alive.
        self._values = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in weights.values()]
        options.add_external_initializers(list(weights), self._values)
        self._session: Any = onnxruntime.InferenceSession(
            GRAPH.read_bytes(), options, providers=["CPUExecutionProvider"]
        )

        # ONNX Runtime has put the matrices in an order of its own; what it needs of the rest is read again.
        content.madvise(mmap.MADV_DONTNEED)

    def hidden_states(self, batches: Sequence[NDArray[np.int32]]) -> list[NDArray[np.float32]]:
        """The last hidden states of each batch of token ids; see BertRuntime."""
        threads = min(thread_count(), len(batches))
        if threads <= 1:
            return [self._forward(ids) for ids in batches]
        with ThreadPoolExecutor(threads, thread_name_prefix="docrag-minilm") as pool:
            return list(pool.map(self._forward, batches))

    def _forward(self, ids: NDArray[np.int32]) -> NDArray[np.float32]:
        [states] = self._session.run(["states"], {"ids": ids})
        output: NDArray[np.float32] = states
        return output


def map_file(file: Path) -> mmap.mmap:
    """A file as read-only memory, which the system reads when it is used."""
    with file.open("rb") as opened:
        return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)


def tensors_in(content: mmap.mmap) -> dict[str, NDArray[np.float32]]:
    """The float32 tensors of a file in the format of safetensors, read-only and without a copy.

    The library safetensors would copy each tensor. The format is a length of 8 bytes, a header in JSON of
    that length, and the tensors.
    """
    start = 8 + int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(content[8:start])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        if entry["dtype"] == "F32":
            first, end = entry["data_offsets"]
            flat = np.frombuffer(content, "<f4", (end - first) // 4, start + first)
            tensors[name] = flat.reshape(entry["shape"])
    return tensors
