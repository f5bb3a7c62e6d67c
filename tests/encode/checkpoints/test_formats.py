"""Which family reads a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from docrag.encode.base import Family
from docrag.encode.checkpoints import formats
from docrag.encode.checkpoints.checkpoint import Checkpoint, locate
from docrag.encode.registry import load_families, load_family, page_encoder
from docrag.errors import ModelUnavailable, UnknownModel, WeightsMismatch
from tests.checkpoints.families import write_json

CLIP = load_family("clip")
COLPALI_ENGINE = load_family("colpali")
MULTI_VECTOR = load_family("multi-vector")
SENTENCES = load_family("sentences")
SIGLIP = load_family("siglip")
ST = "sentence_transformers"
MASK = f"{ST}.multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask"


def recognise(checkpoint: Checkpoint, library: str = "") -> Family:
    return formats.recognise(checkpoint, load_families(), library)


def write(directory: Path, **files) -> Checkpoint:
    return locate(str(write_json(directory, **files)))


def modules(*types):
    return [{"idx": i, "name": str(i), "path": "", "type": kind} for i, kind in enumerate(types)]


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        ("ColPali", COLPALI_ENGINE),
        ("ColQwen2_5", COLPALI_ENGINE),
        ("ColIdefics3", COLPALI_ENGINE),
        ("ColPaliForRetrieval", MULTI_VECTOR),
        ("ColQwen2ForRetrieval", MULTI_VECTOR),
        ("CLIPModel", CLIP),
        ("Siglip2Model", SIGLIP),
    ],
)
def test_the_class_says_the_library(tmp_path, architecture, expected):
    found = write(tmp_path, config={"architectures": [architecture]})
    assert recognise(found) is expected
    assert recognise(found, expected.library) is expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"modules": modules(f"{ST}.models.Transformer", f"{ST}.models.Pooling")}, SENTENCES),
        ({"modules": modules(f"{ST}.models.Transformer", MASK)}, MULTI_VECTOR),
        (
            {
                "modules": modules(f"{ST}.models.Transformer", f"{ST}.models.Dense"),
                "config_sentence_transformers": {"model_type": "ColBERT"},
            },
            MULTI_VECTOR,
        ),
        ({"modules": modules(f"{ST}.models.CLIPModel")}, CLIP),
        ({"modules": modules(f"{ST}.models.Transformer"), "config": {"architectures": ["CLIPModel"]}}, CLIP),
    ],
)
def test_modules_say_what_they_make(tmp_path, files, expected):
    assert recognise(write(tmp_path, **files)) is expected


def test_a_directory_that_two_libraries_read_goes_to_the_one_asked_for(tmp_path):
    files = {"modules": modules(f"{ST}.models.Transformer", MASK), "config": {"architectures": ["ColQwen2"]}}
    found = write(tmp_path, **files)
    assert recognise(found) is MULTI_VECTOR
    assert recognise(found, "sentence-transformers") is MULTI_VECTOR
    assert recognise(found, "colpali-engine") is COLPALI_ENGINE
    with pytest.raises(WeightsMismatch, match="of sentence-transformers or colpali-engine") as refused:
        recognise(found, "transformers")
    assert refused.value.hint == f"ask for sentence-transformers:{tmp_path}"


@pytest.mark.parametrize("kind", ["SparseEncoder", "CrossEncoder"])
def test_modules_that_make_no_dense_vectors_are_refused(tmp_path, kind):
    settings = {"model_type": kind}
    found = write(tmp_path, modules=modules("Transformer"), config_sentence_transformers=settings)
    with pytest.raises(WeightsMismatch, match="no encoder reads"):
        recognise(found)


def test_the_wrong_library_is_refused_and_the_right_one_named(checkpoint):
    name = checkpoint("colqwen2-hf")
    with pytest.raises(WeightsMismatch, match=f"{name} is a checkpoint of sentence-transformers") as refused:
        page_encoder(f"colpali-engine:{name}")
    assert refused.value.hint == f"ask for sentence-transformers:{name}"


def test_what_nothing_reads_is_refused(tmp_path):
    with pytest.raises(WeightsMismatch, match="no encoder reads LlamaForCausalLM") as refused:
        recognise(write(tmp_path, config={"architectures": ["LlamaForCausalLM"]}))
    assert "ColQwen2_5" in refused.value.hint
    with pytest.raises(WeightsMismatch, match="a model of no named class"):
        recognise(write(tmp_path / "empty"))


def test_an_unknown_name_says_which_there_are():
    with pytest.raises(UnknownModel) as refused:
        page_encoder("colquen")
    assert "colqwen2" in refused.value.hint
    assert "minilm" in refused.value.hint


@pytest.mark.parametrize("content", ["{", "", "[1, 2]", "null", "\udcff"])
@pytest.mark.parametrize("name", ["config.json", "adapter_config.json", "config_sentence_transformers.json"])
def test_damaged_configuration_is_told_with_its_file(tmp_path, name, content):
    found = write(tmp_path, modules=modules("a.Transformer"))
    (tmp_path / name).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ModelUnavailable, match=f"{name} is damaged"):
        recognise(found)


def test_modules_that_are_no_list_are_damaged(tmp_path):
    with pytest.raises(ModelUnavailable, match=r"modules\.json is damaged"):
        recognise(write(tmp_path, modules={"0": "Transformer"}))
