"""What only a GPU shows: the vectors of a CPU, and memory that really runs out."""

import gc
import subprocess
import sys

import numpy as np
import pytest
import torch

from docrag.encode.base import EncoderOptions
from docrag.encode.registry import page_encoder
from docrag.encode.runtime.batches import Batches
from docrag.errors import ModelError
from tests.checkpoints.families import PAGE_BUILDERS
from tests.encode.test_contract import PICTURES, QUERIES, WORDS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here")

EXACT = 1e-4
"""How much a value may differ between devices, in float32 with TF32 off."""
CLOSE = 0.97
"""Least mean cosine of a bfloat16 vector to that of float32; tiny random models round worse than others."""
GIB = 2**30


@pytest.fixture(params=["minilm", *PAGE_BUILDERS])
def name(request):
    if request.param == "minilm":
        return "minilm"
    return request.getfixturevalue("checkpoint")(request.param)


@pytest.fixture
def exact(monkeypatch):
    """Convolutions, which cut images into patches, compute in TF32 by default."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture
def little_memory():
    """Lets this process have a share of the memory of the GPU; all of it again afterwards."""
    gc.collect()
    torch.cuda.empty_cache()
    yield torch.cuda.set_per_process_memory_fraction
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def encoded(name, device, dtype, batch_size=0):
    encoder = page_encoder(name, EncoderOptions(device, dtype, batch_size))
    pages = WORDS if encoder.spec.needs == "words" else PICTURES
    return encoder.encode_pages(pages) + encoder.encode_queries(QUERIES)


@pytest.mark.usefixtures("exact")
def test_a_gpu_gives_the_vectors_of_a_cpu(name):
    for ours, theirs in zip(encoded(name, "cuda", "float32"), encoded(name, "cpu", "float32"), strict=True):
        np.testing.assert_allclose(ours.vectors, theirs.vectors, atol=EXACT)
        if theirs.boxes is not None:
            np.testing.assert_array_equal(ours.boxes, theirs.boxes)


def test_auto_takes_the_gpu_and_stays_close_to_float32(name):
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    rounded = encoded(name, "auto", "auto")
    assert torch.cuda.max_memory_allocated() > before
    for ours, theirs in zip(rounded, encoded(name, "cpu", "float32"), strict=True):
        norms = np.linalg.norm(ours.vectors, axis=1) * np.linalg.norm(theirs.vectors, axis=1)
        assert ((ours.vectors * theirs.vectors).sum(axis=1) / norms).mean() > CLOSE


def test_a_batch_that_does_not_fit_is_halved_on_a_gpu(little_memory):
    total = torch.cuda.get_device_properties(0).total_memory
    little_memory(GIB / total)
    tried = []

    def forward(batch):
        tried.append(len(batch))
        rows = torch.ones(len(batch), GIB // 3, dtype=torch.uint8, device="cuda")
        return [int(row[0]) for row in rows]

    assert Batches(8, "cuda").run(range(5), forward) == [1] * 5
    assert tried == [5, 2, 2, 1]


def test_batches_grow_to_the_memory_of_a_gpu(little_memory):
    total = torch.cuda.get_device_properties(0).total_memory
    tried = []

    def forward(batch):
        tried.append(len(batch))
        torch.ones(len(batch), total // 30, dtype=torch.uint8, device="cuda")
        return batch

    little_memory(1.0)
    assert Batches(0, "cuda").run(range(100), forward) == list(range(100))
    assert tried[:2] == [4, 8]
    assert 16 < max(tried) <= 26  # 85 % of 30


def test_a_page_that_does_not_fit_is_an_error_with_a_hint(checkpoint, little_memory):
    encoder = page_encoder(checkpoint("siglip2-naflex"), EncoderOptions("cuda", max_patches=16384))
    encoder.encode_pages(PICTURES[4:5])  # loads it
    torch.cuda.empty_cache()
    little_memory((torch.cuda.memory_reserved() + 2**20) / torch.cuda.get_device_properties(0).total_memory)
    with pytest.raises(ModelError, match="a single item does not fit into the memory of cuda") as caught:
        encoder.encode_pages(PICTURES[:2])
    assert "--device cpu" in caught.value.hint


def test_a_model_that_does_not_fit_is_an_error_with_a_hint(checkpoint):
    """In a process of its own: this one may have room left in what its earlier models took."""
    program = (
        "import sys, torch\n"
        "from docrag.encode.base import EncoderOptions\n"
        "from docrag.encode.registry import page_encoder\n"
        "from docrag.errors import ModelError\n"
        "torch.cuda.set_per_process_memory_fraction(1e-9)\n"
        "try:\n"
        "    page_encoder(sys.argv[1], EncoderOptions('cuda')).encode_queries(['ferry'])\n"
        "except ModelError as error:\n"
        "    print(error.message, '|', error.hint)\n"
    )
    command = [sys.executable, "-c", program, checkpoint("clip")]
    output = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert "does not fit into the memory of cuda" in output
    assert "--dtype bfloat16" in output
