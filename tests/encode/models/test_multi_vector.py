"""Late interaction through sentence-transformers: the same numbers as the libraries give, and every trap."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from docrag.encode.base import EncoderOptions
from docrag.encode.checkpoints.torchvision import mend_torchvision
from docrag.encode.page_images import page_image
from docrag.encode.registry import page_encoder
from docrag.errors import IndexMismatch, ModelUnavailable, SettingsError, WeightsMismatch
from docrag.store.layout import Fingerprint, require_equal
from tests.checkpoints.families import edit_json
from tests.checkpoints.multi_vector import save_colmodernvbert_hf
from tests.encode.maxsim import maxsim
from tests.samples import make_image, picture_page

FAMILIES = ["colpali-hf", "colqwen2-hf", "multi-vector"]
NATIVE = {"colpali-hf": "ColPali", "colqwen2-hf": "ColQwen2"}
PAGES = [picture_page(1), picture_page(2, 500, 200), picture_page(3, 120, 600)]
QUERIES = ["When does the ferry leave?", "pendulum", "?"]
FLOAT32 = EncoderOptions(device="cpu", dtype="float32")


def open_float32(name, **options):
    return page_encoder(str(name), replace(FLOAT32, **options))


def images_of(encoder):
    return [page_image(page, encoder.spec.image_side) for page in PAGES]


def scores_of(encoder):
    queries, pages = encoder.encode_queries(QUERIES), encoder.encode_pages(PAGES)
    return np.array([[maxsim(query.vectors, page.vectors) for page in pages] for query in queries])


def reference(directory):
    """The same checkpoint in sentence-transformers alone."""
    mend_torchvision()
    from sentence_transformers import MultiVectorEncoder

    settings = {"dtype": "float32"}
    return MultiVectorEncoder(str(directory), device="cpu", model_kwargs=settings, local_files_only=True)


def native(directory, architecture):
    """The same checkpoint in transformers alone: the model and its processor."""
    mend_torchvision()
    import transformers

    model = getattr(transformers, f"{architecture}ForRetrieval").from_pretrained(directory, dtype="float32")
    return model.eval(), getattr(transformers, f"{architecture}Processor").from_pretrained(directory)


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_those_of_sentence_transformers(checkpoint, family):
    encoder = open_float32(checkpoint(family))
    model = reference(checkpoint(family))
    pages = model.encode_document(images_of(encoder), batch_size=1)
    expected = model.similarity(model.encode_query(QUERIES), pages)
    np.testing.assert_allclose(scores_of(encoder), expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("family", NATIVE)
def test_scores_are_those_of_transformers(checkpoint, family):
    import torch

    encoder = open_float32(checkpoint(family))
    model, processor = native(checkpoint(family), NATIVE[family])
    with torch.inference_mode():
        pages = [model(**processor(images=[image])).embeddings[0] for image in images_of(encoder)]
        queries = [model(**processor(text=[query])).embeddings[0] for query in QUERIES]
    expected = processor.score_retrieval(queries, pages)
    np.testing.assert_allclose(scores_of(encoder), expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("family", NATIVE)
def test_a_query_that_names_an_image_stays_text(checkpoint, family, tmp_path):
    import torch

    picture = tmp_path / "photo.png"
    make_image(1).save(picture)
    queries = [str(picture), "http://example.org/photo.png", "data:image/png;base64,iVBORw0KGgo=", "a.mp4"]
    model, processor = native(checkpoint(family), NATIVE[family])
    for query, encoded in zip(queries, open_float32(checkpoint(family)).encode_queries(queries), strict=True):
        with torch.inference_mode():
            expected = model(**processor(text=[query])).embeddings[0].numpy()
        np.testing.assert_allclose(encoded.vectors, expected, atol=1e-5)


def test_a_query_that_names_an_image_stays_text_behind_a_chat_template(checkpoint, tmp_path):
    picture = tmp_path / "photo.png"
    make_image(1).save(picture)
    messages = [{"role": "user", "content": [{"type": "text", "text": str(picture)}]}]
    [expected] = reference(checkpoint("multi-vector")).encode_query([messages])
    [encoded] = open_float32(checkpoint("multi-vector")).encode_queries([str(picture)])
    np.testing.assert_allclose(encoded.vectors, expected.numpy(), atol=1e-5)


def test_padding_that_is_nan_is_cut_off(checkpoint):
    """What pads get depends on the kernel: here it is made the worst that any of them gives."""
    import torch

    def spoil(module, arguments, inputs, output):
        assert not inputs["attention_mask"].bool().all()
        output.embeddings = output.embeddings.masked_fill(
            ~inputs["attention_mask"].bool()[..., None], torch.nan
        )
        return output

    encoder = open_float32(checkpoint("colqwen2-hf"), batch_size=len(PAGES))
    calm = [*encoder.encode_pages(PAGES), *encoder.encode_queries(QUERIES)]
    encoder._model._model[0].model.register_forward_hook(spoil, with_kwargs=True)
    for one, other in zip(
        calm, [*encoder.encode_pages(PAGES), *encoder.encode_queries(QUERIES)], strict=True
    ):
        np.testing.assert_array_equal(one.vectors, other.vectors)


def test_the_library_is_part_of_what_must_be_equal(checkpoint):
    """Positions of patches have one dimension here and three in colpali-engine, and vectors differ by it."""
    import torch

    model, processor = native(checkpoint("colqwen2-hf"), "ColQwen2")
    inputs = processor(images=[make_image(1)])
    types = (inputs["input_ids"] == processor.image_token_id).int()
    with torch.inference_mode():
        here = model(**inputs).embeddings
        positions, _ = model.vlm.get_rope_index(
            inputs["input_ids"], types, inputs["image_grid_thw"], attention_mask=inputs["attention_mask"]
        )
        there = model(**inputs, position_ids=positions).embeddings
    assert (here - there).abs().max() > 1e-3

    spec = open_float32(checkpoint("colqwen2-hf")).spec
    other = replace(spec, library="colpali-engine")
    stored, asked = (Fingerprint({"late": one.fingerprint()}) for one in (other, spec))
    with pytest.raises(IndexMismatch, match="library 'colpali-engine', asked for library 'sentence-transf"):
        require_equal(stored, asked)


def test_a_checkpoint_of_another_library_is_refused(checkpoint):
    name = checkpoint("colqwen2")
    with pytest.raises(WeightsMismatch, match="checkpoint of colpali-engine") as refused:
        page_encoder(f"sentence-transformers:{name}")
    assert f"colpali-engine:{name}" in refused.value.hint


def test_a_model_that_sentence_transformers_cannot_show_images_is_refused_at_once(tmp_path):
    model = save_colmodernvbert_hf(tmp_path / "model")
    with pytest.raises(ModelUnavailable, match="cannot encode images") as refused:
        page_encoder(str(model))
    assert "modules.json" in refused.value.hint
    with pytest.raises(TypeError):  # why: where this begins to pass, the refusal can go
        reference(model).encode_document([make_image(1)])


def test_tiles_come_tile_by_tile_and_the_small_page_nowhere(checkpoint):
    [page] = open_float32(checkpoint("multi-vector")).encode_pages([picture_page(1, 300, 400)])
    placed = np.flatnonzero(~np.isnan(page.boxes[:, 0]))
    assert len(placed) == 4 * 3 * 16  # tiles of 4 x 4 patches
    first, second, below = (page.boxes[placed[16 * tile]] for tile in (0, 1, 3))
    np.testing.assert_allclose(first, [0, 0, 1 / 12, 1 / 16], atol=1e-6)
    np.testing.assert_allclose(second[:2], [1 / 3, 0], atol=1e-6)
    np.testing.assert_allclose(below[:2], [0, 1 / 4], atol=1e-6)
    assert np.isnan(page.boxes[placed[-1] + 1 :, 0]).sum() >= 16


def test_a_page_of_one_tile_has_boxes_all_over(checkpoint):
    encoder = open_float32(checkpoint("multi-vector"), resolution=32)
    [page] = encoder.encode_pages([picture_page(1, 300, 400)])
    placed = page.boxes[~np.isnan(page.boxes[:, 0])]
    np.testing.assert_allclose(placed[[0, 5, 15], :2], [[0, 0], [1 / 4, 1 / 4], [3 / 4, 3 / 4]])
    assert encoder.spec.image_side == 32
    assert encoder.spec.fingerprint()["resolution"] == 32


def test_boxes_follow_what_the_mask_keeps(checkpoint, tmp_path):
    whole = Path(checkpoint("multi-vector"))
    model = tmp_path / "model"
    shutil.copytree(whole, model)
    token = json.loads((model / "config.json").read_text())["image_token_id"]
    edit_json(model / "2_MultiVectorMask" / "config.json", keep_only_token_ids=[token])
    [page], [all_tokens] = (open_float32(one).encode_pages(PAGES[:1]) for one in (model, whole))
    assert len(page.vectors) == (4 * 3 + 1) * 16 < len(all_tokens.vectors)
    at = ~np.isnan(all_tokens.boxes[:, 0])
    here = ~np.isnan(page.boxes[:, 0])
    np.testing.assert_array_equal(page.boxes[here], all_tokens.boxes[at])
    np.testing.assert_allclose(page.vectors[here], all_tokens.vectors[at], atol=1e-5)


def test_fewer_patches_where_the_grid_bends(checkpoint):
    encoder = open_float32(checkpoint("colqwen2-hf"), max_patches=12)
    for page in encoder.encode_pages(PAGES):
        assert 4 <= (~np.isnan(page.boxes[:, 0])).sum() <= 12
    [free] = open_float32(checkpoint("colqwen2-hf")).encode_pages(PAGES[:1])
    assert (~np.isnan(free.boxes[:, 0])).sum() > 12


@pytest.mark.parametrize(
    ("family", "asked"),
    [
        ("colpali-hf", {"max_patches": 64}),
        ("colpali-hf", {"resolution": 512}),
    ],
)
def test_a_choice_that_a_model_does_not_have_is_refused(checkpoint, family, asked):
    flag = "--" + next(iter(asked)).replace("_", "-")
    with pytest.raises(SettingsError, match=flag) as refused:
        open_float32(checkpoint(family), **asked)
    assert flag in refused.value.hint


def test_vectors_of_which_nobody_knows_the_place_are_refused(checkpoint, tmp_path):
    model = tmp_path / "pooled"
    shutil.copytree(checkpoint("multi-vector"), model)
    modules = json.loads((model / "modules.json").read_text())
    pooling = "sentence_transformers.multi_vector_encoder.modules.token_pooling.HierarchicalTokenPooling"
    (model / "modules.json").write_text(
        json.dumps([*modules, {"idx": 4, "name": "4", "path": "4_P", "type": pooling}])
    )
    with pytest.raises(ModelUnavailable, match="pools its vectors"):
        page_encoder(str(model))

    unknown = tmp_path / "unknown"
    shutil.copytree(checkpoint("colpali-hf"), unknown)
    config = json.loads((unknown / "processor_config.json").read_text())["image_processor"]
    del config["image_seq_length"]
    edit_json(unknown / "processor_config.json", image_processor=config)
    with pytest.raises(ModelUnavailable, match="SiglipImageProcessor does not state where patches are"):
        page_encoder(str(unknown))


def test_a_model_of_texts_alone_is_refused_at_once(checkpoint, tmp_path):
    model = tmp_path / "colbert"
    shutil.copytree(checkpoint("multi-vector"), model)
    (model / "processor_config.json").unlink()
    edit_json(model / "config_sentence_transformers.json", model_type="ColBERT")
    with pytest.raises(ModelUnavailable, match="embeds texts, not page images") as refused:
        page_encoder(str(model))
    assert "minilm" in refused.value.hint


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_again_it_is_the_same(checkpoint, family, tmp_path):
    reference(checkpoint(family)).save_pretrained(str(tmp_path / "again"), create_model_card=False)
    before, after = (open_float32(name) for name in (checkpoint(family), tmp_path / "again"))
    for one, other in zip(before.encode_pages(PAGES), after.encode_pages(PAGES), strict=True):
        np.testing.assert_allclose(one.vectors, other.vectors, atol=1e-6)
        np.testing.assert_array_equal(one.boxes, other.boxes)
