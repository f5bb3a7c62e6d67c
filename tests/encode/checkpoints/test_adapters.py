"""LoRA adapters: the vectors that peft gives, no weight missing, and the base found once."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from docrag.encode.checkpoints.checkpoint import Checkpoint
from docrag.encode.page_images import page_image
from docrag.encode.registry import page_encoder
from docrag.errors import ModelUnavailable, WeightsMismatch
from tests.checkpoints.colpali import save_adapter
from tests.checkpoints.reference import CLASSES, engine, images_of, options, reference, straight
from tests.samples import picture_page

PAGES = [picture_page(1)]
QUERIES = ["When does the ferry leave?"]
ADAPTED = ["colpali", "colqwen2", "colqwen2.5"]
EARLIER = {
    "colpali": ("model.model.language_model.", "model.language_model.model."),
    "colqwen2": ("base_model.model.language_model.", "base_model.model.model."),
    "colqwen2.5": ("base_model.model.language_model.", "base_model.model.model."),
}
"""Names of layers now -> in the adapters on the hub, which transformers 4 saved."""


@pytest.fixture(scope="module")
def adapter(checkpoint, tmp_path_factory):
    def build(family, **settings):
        base = Path(checkpoint(family))
        directory = tmp_path_factory.mktemp("adapter")
        return save_adapter(getattr(engine(), CLASSES[family]), base, directory, **settings)

    return build


def rewrite(directory, change):
    """Give the weights of an adapter other names; those that get none are dropped."""
    from safetensors.torch import load_file, save_file

    file = next(directory.glob("*.safetensors"))
    renamed = {change(name): weight for name, weight in load_file(file).items()}
    save_file({name: weight for name, weight in renamed.items() if name}, file, {"format": "pt"})


@pytest.mark.parametrize("family", ADAPTED)
def test_an_adapter_gives_what_peft_gives(checkpoint, adapter, family):
    path = adapter(family)
    encoder = page_encoder(str(path), options())
    encoded = [*encoder.encode_pages(PAGES), *encoder.encode_queries(QUERIES)]
    from peft import PeftModel  # after docrag, which mends a torchvision of another torch first

    model, processor = reference(family, checkpoint(family))
    with warnings.catch_warnings():  # peft asks transformers by a name that version 6 drops
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        model = PeftModel.from_pretrained(model, str(path)).eval()
    inputs = [images_of(processor, [page_image(PAGES[0], encoder.spec.image_side)])]
    inputs += [processor.process_queries(QUERIES)]
    for ours, theirs in zip(encoded, inputs, strict=True):
        np.testing.assert_allclose(ours.vectors, straight(model, theirs).numpy(), atol=1e-5)
    plain = page_encoder(checkpoint(family), options()).encode_pages(PAGES)[0]
    assert np.abs(plain.vectors - encoded[0].vectors).max() > 0.1


@pytest.mark.parametrize("family", ADAPTED)
def test_an_adapter_of_earlier_names_is_the_same(adapter, family):
    path = adapter(family)
    [now] = page_encoder(str(path), options()).encode_pages(PAGES)
    new, old = EARLIER[family]
    rewrite(path, lambda name: name.replace(new, old))
    [earlier] = page_encoder(str(path), options()).encode_pages(PAGES)
    np.testing.assert_array_equal(now.vectors, earlier.vectors)


def test_an_adapter_knows_itself_without_its_weights(checkpoint, adapter):
    path = adapter("colqwen3.5", target_modules=r".*custom_text_proj.*")
    spec, base = (page_encoder(name, options()).spec for name in (str(path), checkpoint("colqwen3.5")))
    assert (spec.family, spec.dim, spec.image_side) == (base.family, 48, base.image_side)
    assert spec.digest != base.digest


@pytest.mark.parametrize("missing", ["lora_A", "lora_B", "layers.1.", "custom_text_proj"])
def test_an_adapter_that_lacks_weights_is_refused(adapter, missing):
    path = adapter("colqwen2")
    rewrite(path, lambda name: "" if missing in name else name)
    with pytest.raises(WeightsMismatch, match="an adapter of ColQwen2"):
        page_encoder(str(path), options()).encode_queries(["a"])


def test_an_adapter_whose_base_lacks_weights_is_refused(checkpoint, tmp_path):
    """from_pretrained says nothing of it: it tells what the adapter lacks."""
    base = Path(shutil.copytree(checkpoint("colqwen2"), tmp_path / "base"))
    path = save_adapter(engine().ColQwen2, base, tmp_path / "adapter")
    rewrite(base, lambda name: "" if "layers.0.mlp.up_proj" in name else name)
    _, loading_info = engine().ColQwen2.from_pretrained(path, output_loading_info=True)
    assert not loading_info["missing_keys"]
    with pytest.raises(WeightsMismatch, match=re.escape(f"{base} lacks 1 weight")):
        page_encoder(str(path), options()).encode_queries(["a"])


def test_an_adapter_may_bring_whole_modules_that_its_base_lacks(checkpoint, tmp_path):
    base = Path(shutil.copytree(checkpoint("colqwen2"), tmp_path / "base"))
    settings = {"target_modules": r".*language_model.*q_proj", "modules_to_save": ["custom_text_proj"]}
    path = save_adapter(engine().ColQwen2, base, tmp_path / "adapter", **settings)
    [whole] = page_encoder(str(path), options()).encode_queries(["a"])
    rewrite(base, lambda name: "" if "custom_text_proj" in name else name)
    [brought] = page_encoder(str(path), options()).encode_queries(["a"])
    np.testing.assert_array_equal(whole.vectors, brought.vectors)
    rewrite(path, lambda name: "" if "custom_text_proj" in name else name)
    with pytest.raises(WeightsMismatch, match="an adapter of ColQwen2"):
        page_encoder(str(path), options()).encode_queries(["a"])


def test_the_base_of_a_hub_adapter_is_read_where_it_was_located(checkpoint, adapter, monkeypatch):
    path = adapter("colqwen2")
    config = json.loads((path / "adapter_config.json").read_text())
    hub = {**config, "base_model_name_or_path": "vidore/colqwen2-base"}
    (path / "adapter_config.json").write_text(json.dumps(hub))
    fetched = []

    def fetch(model, revision):
        fetched.append(model)
        return Checkpoint(Path(checkpoint("colqwen2")), model, "abc")

    monkeypatch.setattr("docrag.encode.checkpoints.checkpoint._fetch", fetch)
    monkeypatch.setattr("huggingface_hub.file_download.hf_hub_download", pytest.fail)
    [encoded] = page_encoder(str(path), options()).encode_queries(["a"])
    assert np.isfinite(encoded.vectors).all()
    assert fetched == ["vidore/colqwen2-base"]


def test_an_adapter_without_its_base_says_how_to_get_it(adapter, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # the variable was read long ago
    path = adapter("colqwen2")
    config = json.loads((path / "adapter_config.json").read_text())
    hub = {**config, "base_model_name_or_path": "vidore/colqwen2-base"}
    (path / "adapter_config.json").write_text(json.dumps(hub))
    with pytest.raises(ModelUnavailable, match="vidore/colqwen2-base"):
        page_encoder(str(path), options())
