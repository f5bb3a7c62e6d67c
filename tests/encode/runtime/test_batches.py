"""Batches that fit. A GPU is simulated by forward passes that fail above a size, and by a counted memory."""

import gc
import logging
import weakref

import pytest
import torch

from docrag.encode.runtime.batches import FIRST, MOST, OUT_OF_MEMORY, ROOM, Batches, is_out_of_memory
from docrag.errors import ModelError

CUDA = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...\nmore lines")
CPU = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"
)
MPS = RuntimeError("MPS backend out of memory (MPS allocated: 17.2 GB, other allocations: 1 GB)")
OTHERS = [MemoryError(), *(RuntimeError(f"{text}, and so on") for text in OUT_OF_MEMORY)]


class Model:
    """Doubles numbers; fails with `error` where a batch weighs more than `limit`."""

    def __init__(self, limit, error=CUDA, weigh=len):
        self.limit, self.error, self.weigh = limit, error, weigh
        self.passes = []
        self.failures = []

    def __call__(self, batch):
        if self.weigh(batch) > self.limit:
            self.failures.append(len(batch))
            raise self.error
        self.passes.append(len(batch))
        return [2 * item for item in batch]


class Counted:
    """Memory in which each item of a pass takes one unit, beside the weights."""

    def __init__(self, model, total, weights=0):
        self.model, self.total, self.weights = model, total, weights

    def held(self):
        return self.weights

    def peak(self):
        return self.weights + self.model.passes[-1]

    def limit(self):
        return self.total


def doubled(items):
    return [2 * item for item in items]


@pytest.fixture(autouse=True)
def little_to_collect():
    """A collection after a failed pass looks at the objects of the test, not of all that was imported."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("error", [CUDA, CPU, MPS, *OTHERS], ids=str)
@pytest.mark.parametrize("size", [0, 16])
def test_a_batch_that_does_not_fit_is_halved_and_nothing_is_lost(error, size):
    model = Model(3, error)
    assert Batches(size, "cpu").run(range(21), model) == doubled(range(21))
    assert model.passes == [2] * 10 + [1]


@pytest.mark.parametrize("size", [0, 1, 7, 64])
@pytest.mark.parametrize("count", [0, 1, 5, 33])
def test_order_is_kept_with_batches_of_any_size(size, count):
    assert Batches(size, "cpu").run(range(count), Model(5)) == doubled(range(count))


def test_a_single_item_that_does_not_fit_is_an_error_with_a_hint():
    model = Model(3, weigh=sum)
    with pytest.raises(ModelError, match=r"memory of cpu: CUDA out of memory") as caught:
        Batches(4, "cpu").run([1, 1, 9, 1], model)
    assert "--resolution" in caught.value.hint
    assert "more lines" not in caught.value.message
    assert model.failures == [4, 2, 1]


def test_an_error_without_words_is_named():
    with pytest.raises(ModelError, match="MemoryError"):
        Batches(1, "cpu").run([1], Model(0, MemoryError()))


@pytest.mark.parametrize("place", range(8))
def test_a_large_item_is_found_wherever_it_stands(place):
    items = [1] * 8
    items[place] = 5
    model = Model(5, weigh=sum)
    assert Batches(8, "cpu").run(items, model) == doubled(items)
    assert sum(model.passes) == 8


def test_another_error_is_raised_as_it_is():
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    model = Model(0, error)
    with pytest.raises(RuntimeError) as caught:
        Batches(8, "cpu").run(range(8), model)
    assert caught.value is error
    assert model.failures == [8]
    assert not is_out_of_memory(ValueError("can't allocate memory"))


def test_results_that_are_not_one_an_item_are_refused():
    with pytest.raises(ValueError, match="1 results for 4 items"):
        Batches(4, "cpu").run(range(4), lambda batch: [0])


def test_batches_grow_until_memory_is_nearly_used():
    model = Model(200)
    batches = Batches(0, "cpu", memory=Counted(model, total=100, weights=60))
    assert batches.run(range(400), model) == doubled(range(400))
    assert model.passes[:5] == [4, 8, 16, 25, 25]  # 60 + 25 = 85 of 100
    assert batches.size == int(ROOM * 100) - 60
    assert not model.failures


def test_batches_do_not_grow_without_end():
    model = Model(10**6)
    batches = Batches(0, "cpu", memory=Counted(model, total=10**9))
    batches.run(range(3 * MOST), model)
    assert batches.size == MOST


def test_the_memory_of_the_weights_is_not_counted_for_each_item():
    model = Model(100)
    batches = Batches(0, "cpu", memory=Counted(model, total=100, weights=70))
    batches.run(range(100), model)
    assert batches.size == 15


def test_a_batch_that_is_not_full_says_nothing():
    model = Model(100)
    batches = Batches(0, "cpu", memory=Counted(model, total=1000))
    for _ in range(5):
        batches.run(range(FIRST - 1), model)
    assert batches.size == FIRST


def test_a_fixed_size_does_not_grow():
    model = Model(100)
    batches = Batches(2, "cpu", memory=Counted(model, total=1000))
    batches.run(range(10), model)
    assert batches.size == 2


def test_no_size_is_tried_again_once_it_failed():
    model = Model(12)  # less than the memory promises
    batches = Batches(0, "cpu", memory=Counted(model, total=1000))
    for _ in range(4):
        assert batches.run(range(100), model) == doubled(range(100))
    assert model.failures == [16]
    assert batches.size == 8
    assert set(model.passes[2:]) == {8, 4}


def test_the_tensors_of_a_failed_pass_are_gone_before_the_next():
    held = []

    def forward(batch):
        gc.disable()  # what only a collection frees is freed by ours or not at all
        assert all(tensor() is None for tensor in held)
        activations = torch.zeros(len(batch), 1000)
        held.append(weakref.ref(activations))
        if len(batch) > 1:
            error = torch.OutOfMemoryError("CUDA out of memory")
            raise error  # a cycle: the frame holds the error, and the error its frame
        return batch

    try:
        assert Batches(8, "cpu").run(range(8), forward) == list(range(8))
    finally:
        gc.enable()
    assert len(held) == 3 + 8


def test_the_last_error_holds_no_tensors():
    held = []

    def forward(batch):
        activations = torch.zeros(1000)
        held.append(weakref.ref(activations))
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(ModelError) as caught:
        Batches(1, "cpu").run([1], forward)
    assert caught.value.__context__ is None
    assert held[0]() is None


def test_the_real_error_of_a_cpu_is_known():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert is_out_of_memory(caught.value)


def test_on_cuda_torch_is_asked_and_its_cache_is_emptied(monkeypatch):
    model = Model(12)
    emptied = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 10)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 10 + model.passes[-1])
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (60, 200))  # others hold the rest
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 40)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(True))
    batches = Batches(0, "cuda:1")
    assert batches.run(range(100), model) == doubled(range(100))
    assert model.passes[:2] == [4, 8]
    assert model.failures == [16]
    assert emptied == [True]


def test_sizes_that_change_are_logged(caplog):
    small, large = Model(3), Model(100)
    with caplog.at_level(logging.DEBUG, logger="docrag.encode.runtime.batches"):
        Batches(0, "cpu", first=4).run(range(4), small)
        Batches(0, "cpu", first=4, memory=Counted(large, 100)).run(range(4), large)
    halved, grown = caplog.records
    assert (halved.levelname, halved.message) == (
        "INFO",
        "out of memory with 4 items on cpu: batches of 2 now",
    )
    assert (grown.levelname, grown.message) == ("DEBUG", "1 bytes per item on cpu: batches of 8 now")
