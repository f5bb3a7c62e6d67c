"""minilm on ONNX Runtime gives what it gives in torch."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file

from docrag.encode.models.minilm_model import CLS, SEP, MiniLM, weights_directory
from docrag.encode.models.minilm_onnx import GRAPH, UNUSED, OnnxBert, map_file, tensors_in
from docrag.encode.models.minilm_torch import TorchBert
from tests.encode.models.minilm_graph import build
from tests.samples import APPLE, CLOCK, FERRY

TEXTS = [
    FERRY,
    APPLE * 20,
    "fiscal 2017",
    "",
    "Wie heißt 渡船时刻表 hier? ⛴️",
    f"{CLOCK}\n{APPLE}" * 7,
    *(f"{FERRY} {CLOCK}"[: 7 * i] for i in range(1, 24)),
]


@pytest.fixture(scope="module")
def bert() -> OnnxBert:
    return OnnxBert(weights_directory())


def test_the_graph_is_what_the_script_writes():
    assert GRAPH.read_bytes() == build()


def test_the_graph_has_no_weights():
    assert GRAPH.stat().st_size < 50_000
    initializers = onnx.load(GRAPH, load_external_data=False).graph.initializer
    external = {each.name for each in initializers if each.data_location == onnx.TensorProto.EXTERNAL}
    tensors = tensors_in(map_file(weights_directory() / "model.safetensors"))
    assert external == {name for name in tensors if not name.startswith(UNUSED)}


def test_tensors_are_mapped_as_the_library_reads_them():
    file = weights_directory() / "model.safetensors"
    expected = {name: value for name, value in load_file(file).items() if value.dtype == np.float32}
    mapped = tensors_in(map_file(file))
    assert mapped.keys() == expected.keys()
    for name, value in mapped.items():
        np.testing.assert_array_equal(value, expected[name])
        assert not value.flags.writeable


def test_every_token_has_the_vector_that_torch_gives():
    model = MiniLM(weights_directory())
    sequences = [[CLS, *model.pieces([text]).ids[:256], SEP] for text in TEXTS]
    ours = np.concatenate(model.hidden_states(sequences))
    model._runtime = TorchBert(weights_directory())
    theirs = np.concatenate(model.hidden_states(sequences))
    assert ours.shape == theirs.shape
    cosines = (ours * theirs).sum(axis=1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosines.min() > 0.99999
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_padding_changes_nothing(bert: OnnxBert):
    ids = np.array([[101, 7592, 2088, 102, 0, 0], [101, 7592, 2088, 2088, 2088, 102]], np.int32)
    [padded, alone] = bert.hidden_states([ids, ids[:1, :4]])
    np.testing.assert_allclose(padded[:1, :4], alone, atol=1e-5)


def test_batches_in_several_threads_are_those_of_one(bert: OnnxBert, monkeypatch: pytest.MonkeyPatch):
    generator = np.random.default_rng(0)
    batches = [generator.integers(1000, 20000, (3, length), np.int32) for length in range(2, 40)]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    expected = bert.hidden_states(batches)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    for states, alone in zip(bert.hidden_states(batches), expected, strict=True):
        np.testing.assert_array_equal(states, alone)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_that_forked_computes_as_before(bert: OnnxBert):
    ids = np.array([[101, 7592, 2088, 102]], np.int32)
    [expected] = bert.hidden_states([ids])
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=lambda: queue.put(bert.hidden_states([ids])[0]))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    np.testing.assert_array_equal(queue.get(), expected)


@pytest.mark.slow
def test_onnxruntime_keeps_no_device_id_and_no_queue_of_what_to_send(tmp_path):
    code = """if True:
        import time
        from docrag.encode.models.minilm import MiniLMText
        MiniLMText().encode_queries(["is it there?"])
        time.sleep(1)  # it is written by another thread
    """
    environment = {"HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert list(tmp_path.rglob("*")) == []
