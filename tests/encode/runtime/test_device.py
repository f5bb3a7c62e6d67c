"""Devices and precisions; other hardware is simulated by replacing what torch reports."""

import logging
from types import SimpleNamespace

import pytest
import torch

from docrag.encode.base import EncoderOptions
from docrag.encode.models.colpali import ARCHITECTURES
from docrag.encode.runtime import device
from docrag.encode.runtime.device import choose_attention, choose_device, choose_dtype
from docrag.errors import SettingsError


@pytest.fixture
def hardware(monkeypatch):
    """Has torch find CUDA devices of a generation, or MPS, or a CPU that multiplies bfloat16."""

    def have(cuda=0, major=9, mps=False, bfloat16=False, flash=False):
        properties = SimpleNamespace(major=major)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: bfloat16)
        monkeypatch.setattr(device, "find_spec", lambda name: object() if flash else None)

    return have


@pytest.mark.parametrize(
    ("found", "best"), [({}, "cpu"), ({"cuda": 1}, "cuda"), ({"mps": True}, "mps"), ({"cuda": 2}, "cuda")]
)
def test_auto_is_the_best_there_is(hardware, found, best):
    hardware(**found)
    assert choose_device("auto") == best


@pytest.mark.parametrize(
    ("asked", "given"), [("cpu", "cpu"), ("cpu:0", "cpu"), ("cuda", "cuda"), ("cuda:1", "cuda:1")]
)
def test_a_device_that_is_there_is_taken(hardware, asked, given):
    hardware(cuda=2)
    assert choose_device(asked) == given


@pytest.mark.parametrize("name", ["banana", "", "CPU", "cuda:-1", "cuda:one", "cuda:0,cuda:1", "0"])
def test_what_is_no_device_is_refused(hardware, name):
    hardware(cuda=2)
    with pytest.raises(SettingsError, match="no device") as caught:
        choose_device(name)
    assert "cuda:1" in caught.value.hint


@pytest.mark.parametrize("name", ["cuda:2", "mps", "mps:1", "meta", "xpu"])
def test_a_device_that_is_not_there_is_refused_with_one_that_is(hardware, name):
    hardware(cuda=2)
    with pytest.raises(SettingsError, match=f"finds no device '{name}'") as caught:
        choose_device(name)
    assert caught.value.hint == "--device cuda"


def test_a_device_that_this_machine_lacks_is_named():
    absent = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(SettingsError, match=absent):
        choose_device(absent)


@pytest.mark.parametrize(
    ("found", "name", "dtype"),
    [
        ({"cuda": 1, "major": 9}, "cuda", torch.bfloat16),
        ({"cuda": 1, "major": 8}, "cuda:0", torch.bfloat16),
        ({"cuda": 1, "major": 7}, "cuda", torch.float32),  # it emulates bfloat16
        ({"bfloat16": True}, "cpu", torch.bfloat16),
        ({"bfloat16": False}, "cpu", torch.float32),
        ({"mps": True}, "mps", torch.float32),
    ],
)
def test_auto_is_bfloat16_where_it_is_native(hardware, found, name, dtype):
    hardware(**found)
    assert choose_dtype("auto", name) == dtype


@pytest.mark.parametrize(("name", "dtype"), device.DTYPES.items())
def test_a_named_precision_is_taken(name, dtype):
    assert choose_dtype(name, "cuda:0") == dtype


@pytest.mark.parametrize(("name", "where"), [("float64", "cpu"), ("half", "cuda"), ("float16", "cpu")])
def test_a_precision_of_no_use_is_refused_with_those_that_are(name, where):
    with pytest.raises(SettingsError) as caught:
        choose_dtype(name, where)
    assert "bfloat16" in caught.value.hint
    assert "float32" in caught.value.hint
    assert caught.value.exit_code == 2


def test_flash_attention_is_taken_where_all_allows_it(hardware):
    hardware(cuda=2, flash=True)
    assert choose_attention("cuda:1", torch.bfloat16, flash_attention=True) == "flash_attention_2"


@pytest.mark.parametrize(
    ("found", "where", "dtype", "allowed"),
    [
        ({"flash": False}, "cuda", torch.bfloat16, True),
        ({"major": 7}, "cuda", torch.float16, True),
        ({}, "cpu", torch.bfloat16, True),
        ({}, "cuda", torch.float32, True),
        ({}, "cuda", torch.bfloat16, False),
    ],
)
def test_otherwise_it_is_sdpa(hardware, found, where, dtype, allowed):
    hardware(**{"cuda": 1, "flash": True, **found})
    assert choose_attention(where, dtype, allowed) == "sdpa"


def test_models_with_other_masks_than_causal_ones_take_no_flash_attention():
    allowed = {each.model_class for each in ARCHITECTURES if each.flash_attention}
    assert allowed == {"ColQwen2", "ColQwen2_5", "ColQwen3", "ColQwen3_5", "ColIdefics3"}


def test_what_is_chosen_automatically_is_logged(hardware, caplog):
    hardware(cuda=1)
    with caplog.at_level(logging.DEBUG, logger="docrag.encode.runtime.device"):
        choose_device("auto")
        choose_dtype("auto", "cuda")
    assert caplog.messages == ["device auto: cuda", "dtype auto on cuda: torch.bfloat16"]


def test_several_devices_are_separated_by_commas():
    options = EncoderOptions(device="cuda:0, cuda:1", batch_size=3)
    assert options.devices == ["cuda:0", "cuda:1"]
    assert options.on("cuda:1") == EncoderOptions(device="cuda:1", batch_size=3)
