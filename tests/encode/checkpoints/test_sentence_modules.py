"""What models of sentence-transformers share: their length is read, and no weight stays random unseen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from docrag.encode.base import EncoderOptions
from docrag.encode.checkpoints.checkpoint import locate
from docrag.encode.checkpoints.sentence_modules import dimension
from docrag.encode.registry import page_encoder, text_encoder
from docrag.errors import ModelUnavailable, WeightsMismatch
from tests.checkpoints.families import drop_a_weight, edit_json
from tests.checkpoints.multi_vector import save_adapter
from tests.checkpoints.sentences import save_sentences
from tests.samples import picture_page

LATE = ["colpali-hf", "colqwen2-hf", "multi-vector"]
PAGES = [picture_page(1)]


def open_float32(name):
    return page_encoder(str(name), EncoderOptions(device="cpu", dtype="float32"))


@pytest.mark.parametrize("file", ["model.safetensors", "1_Dense/model.safetensors"])
def test_any_missing_weight_is_refused(checkpoint, tmp_path, file):
    broken = drop_a_weight(Path(checkpoint("multi-vector")), tmp_path / "broken", file)
    with pytest.raises(WeightsMismatch, match="lacks"):
        open_float32(broken).encode_pages(PAGES)


def test_weights_that_end_too_soon_are_refused(checkpoint, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(checkpoint("colqwen2-hf"), model)
    weights = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ModelUnavailable, match="cannot be loaded"):
        open_float32(model).encode_pages(PAGES)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft's call
def test_an_adapter_is_read_with_its_base(checkpoint, tmp_path):
    base = Path(checkpoint("multi-vector"))
    adapter = save_adapter(base, tmp_path / "adapter")
    [plain], [adapted] = (open_float32(one).encode_pages(PAGES) for one in (base, adapter))
    assert open_float32(adapter).spec.digest != open_float32(base).spec.digest
    np.testing.assert_array_equal(plain.boxes, adapted.boxes)
    assert np.abs(plain.vectors - adapted.vectors).max() > 1e-3

    broken = drop_a_weight(base, tmp_path / "base", "model.safetensors")
    edit_json(adapter / "adapter_config.json", base_model_name_or_path=str(broken))
    with pytest.raises(WeightsMismatch, match="lacks"):
        open_float32(adapter).encode_pages(PAGES)

    edit_json(adapter / "adapter_config.json", base_model_name_or_path=str(base))
    (adapter / "modules.json").unlink()
    edit_json(adapter / "adapter_config.json", auto_mapping={"base_model_class": "ColQwen2ForRetrieval"})
    with pytest.raises(ModelUnavailable, match="is an adapter without"):
        open_float32(adapter)


def test_the_length_of_vectors_is_known_without_weights(checkpoint, tmp_path):
    for family in LATE:
        bare = tmp_path / family
        shutil.copytree(checkpoint(family), bare, ignore=shutil.ignore_patterns("*.safetensors"))
        assert page_encoder(str(bare)).spec.dim == 24
    text = save_sentences(tmp_path / "text")
    (text / "model.safetensors").unlink()
    assert text_encoder(str(text)).spec.dim == 24


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ({"embedding_dimension": 32, "pooling_mode": "mean"}, 32),
        ({"embedding_dimension": 32, "pooling_mode": ["mean", "cls"]}, 64),
        ({"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}, 32),
        (
            {
                "word_embedding_dimension": 32,
                "pooling_mode_mean_tokens": True,
                "pooling_mode_cls_token": True,
                "pooling_mode_max_tokens": False,
            },
            64,
        ),
    ],
)
def test_every_way_of_saving_a_pooling_tells_the_length(tmp_path, pooling, expected):
    save_pooling(tmp_path, pooling)
    assert dimension(locate(str(tmp_path))) == expected


def save_pooling(directory, pooling):
    kinds = {"": "models.Transformer", "1_Pooling": "models.Pooling", "2_Normalize": "models.Normalize"}
    modules = [{"path": path, "type": f"sentence_transformers.{kind}"} for path, kind in kinds.items()]
    (directory / "modules.json").write_text(json.dumps(modules))
    (directory / "1_Pooling").mkdir()
    (directory / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


def test_a_length_that_nothing_tells_is_an_error(tmp_path):
    (tmp_path / "modules.json").write_text(json.dumps([{"path": "", "type": "somebody.Else"}]))
    with pytest.raises(ModelUnavailable, match="the length of its vectors") as refused:
        dimension(locate(str(tmp_path)))
    assert "Pooling" in refused.value.hint
