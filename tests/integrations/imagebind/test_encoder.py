"""The encoder with a tiny random model; needs ImageBind's library, which is not for commercial use."""

from __future__ import annotations

import ast
import gzip
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from imagebind_docrag.encoder import REQUIRED_PACKAGES, WEIGHTS
from imagebind_docrag.inputs import clips_of

from docrag import Index
from docrag.encode.base import AudioQueryEncoder, EncoderOptions, ImageQueryEncoder, MixedEncoder
from docrag.encode.checkpoints.torchvision import mend_torchvision
from docrag.encode.registry import page_encoder
from docrag.errors import IndexMismatch, ModelUnavailable, WeightsMismatch
from tests.integrations.imagebind.sounds import write_sound
from tests.samples import make_image, picture_page

MISSING = [name for name in REQUIRED_PACKAGES if find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"ImageBind's library needs {', '.join(MISSING)}")
with_sound = pytest.mark.skipif(find_spec("soundfile") is None, reason="soundfile is not installed")
CPU = EncoderOptions(device="cpu", dtype="float32", batch_size=3)
PAGES = [
    picture_page(1),
    picture_page(2, 500, 200),
    picture_page(3, 120, 600),
    picture_page(4, 30, 30),
    picture_page(1),
]
QUERIES = ["a ferry", "?!", "", "word " * 300, "http://example.org/photo.png", "/etc/hosts"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random ImageBindModel with all six towers, saved in the same form as the real one."""
    import torch
    from imagebind_docrag.library import load_library

    torch.manual_seed(0)
    sizes = {"vision_embed_dim": 160, "text_embed_dim": 128, "audio_embed_dim": 64, "thermal_embed_dim": 24}
    sizes |= {"depth_embed_dim": 32, "imu_embed_dim": 16, "out_embed_dim": 1024}
    sizes |= {"vision_num_heads": 2, "text_num_heads": 2, "audio_num_heads": 1}
    sizes |= {f"{tower}_num_blocks": 2 for tower in ("vision", "text", "audio", "depth", "thermal", "imu")}
    path = tmp_path_factory.mktemp("imagebind") / "tiny.pth"
    torch.save(load_library().model_class(**sizes).state_dict(), path)
    return path


@pytest.fixture
def encoder(weights: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv(WEIGHTS, str(weights))
    return page_encoder("imagebind", CPU)


@pytest.fixture
def changed(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes an encoder from changed weights; None removes a weight."""
    import torch

    def change(**changes: Any) -> Any:
        state = torch.load(weights, weights_only=True)
        state.update({name.replace("__", "."): value for name, value in changes.items()})
        torch.save({name: value for name, value in state.items() if value is not None}, tmp_path / "w.pth")
        monkeypatch.setenv(WEIGHTS, str(tmp_path / "w.pth"))
        return page_encoder("imagebind", CPU)

    return change


def test_pages_and_queries_are_single_rows_of_length_one(encoder):
    assert isinstance(encoder, MixedEncoder)
    assert isinstance(encoder, ImageQueryEncoder)
    assert isinstance(encoder, AudioQueryEncoder)
    for encoded in [*encoder.encode_pages(PAGES), *encoder.encode_queries(QUERIES)]:
        assert encoded.vectors.shape == (1, 1024)
        np.testing.assert_allclose(np.linalg.norm(encoded.vectors), 1, atol=1e-5)
    assert encoder.encode_pages([]) == []
    assert encoder.encode_queries([]) == []


def test_batches_give_the_same_vectors_in_order(encoder):
    pages, queries = encoder.encode_pages(PAGES), encoder.encode_queries(QUERIES)
    for page, batched in zip(PAGES, pages, strict=True):
        np.testing.assert_allclose(encoder.encode_pages([page])[0].vectors, batched.vectors, atol=1e-5)
    for query, batched in zip(QUERIES, queries, strict=True):
        np.testing.assert_allclose(encoder.encode_queries([query])[0].vectors, batched.vectors, atol=1e-5)
    np.testing.assert_allclose(pages[0].vectors, pages[-1].vectors, atol=1e-5)
    assert np.abs(pages[0].vectors - pages[1].vectors).max() > 1e-3
    assert np.abs(queries[0].vectors - queries[1].vectors).max() > 1e-3


def test_mixed_lists_keep_their_order(encoder):
    images = [make_image(1), make_image(2)]
    mixed = encoder.encode([images[0], "a ferry", images[1], "a clock"])
    np.testing.assert_allclose(mixed[[0, 2]], encoder.encode(images), atol=1e-5)
    np.testing.assert_allclose(mixed[[1, 3]], encoder.encode(["a ferry", "a clock"]), atol=1e-5)
    labels = encoder.label(mixed[[0, 2]], ["a ferry", "a clock"])
    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-5)
    logits = mixed[[0, 2]] @ mixed[[1, 3]].T / 0.07  # the temperature of a new model
    np.testing.assert_allclose(np.log(labels[:, 0] / labels[:, 1]), logits[:, 0] - logits[:, 1], atol=1e-3)


@with_sound
def test_a_recording_is_a_query(encoder, tmp_path):
    low = write_sound(tmp_path / "low.wav", 3)
    high = write_sound(tmp_path / "high.wav", 3, pitch=3000)
    first, second = encoder.encode_query_audio([low, high])
    assert first.vectors.shape == (1, 1024)
    np.testing.assert_allclose(np.linalg.norm(first.vectors), 1, atol=1e-5)
    assert np.abs(first.vectors - second.vectors).max() > 1e-3
    np.testing.assert_allclose(encoder.encode_query_audio([low])[0].vectors, first.vectors, atol=1e-5)


@with_sound
def test_vectors_are_those_of_the_librarys_own_model(encoder, weights, tmp_path):
    """The reference is the library's model with all towers, on inputs made by the library's functions."""
    import torch
    from imagebind_docrag.library import load_library

    library = load_library()
    state = torch.load(weights, weights_only=True)
    model = library.model_class(
        out_embed_dim=1024, vision_embed_dim=160, vision_num_blocks=2, vision_num_heads=2, text_embed_dim=128,
        text_num_blocks=2, text_num_heads=2, audio_embed_dim=64, audio_num_blocks=2, audio_num_heads=1,
        depth_embed_dim=32, depth_num_blocks=2, thermal_embed_dim=24, thermal_num_blocks=2,
        imu_embed_dim=16, imu_num_blocks=2,
    )  # fmt: skip
    model.load_state_dict(state, strict=True)
    model.eval()
    photo = tmp_path / "photo.png"
    make_image(5, 400, 300).save(photo)
    sound = write_sound(tmp_path / "sound.wav", 5)
    texts = ["a ferry in the harbour", "long " * 200]
    functions = library_functions("load_and_transform_vision_data", "load_and_transform_text")
    # test_inputs.py compares the audio clips with torchaudio's numbers.
    inputs = {
        "vision": functions["load_and_transform_vision_data"]([photo], "cpu"),
        "text": functions["load_and_transform_text"](texts, "cpu"),
        "audio": torch.from_numpy(clips_of(sound))[None],
    }
    with torch.inference_mode():
        expected = {tower: rows.numpy() for tower, rows in model(inputs).items()}
    encoded = {
        "vision": encoder.encode([make_image(5, 400, 300)]),
        "text": encoder.encode(texts),
        "audio": encoder.encode_query_audio([sound])[0].vectors,
    }
    for tower, rows in encoded.items():
        lengths = np.linalg.norm(expected[tower], axis=1, keepdims=True)
        np.testing.assert_allclose(rows, expected[tower] / lengths, atol=1e-5, err_msg=tower)


def library_functions(*names: str) -> dict[str, Any]:
    """Functions of imagebind.data, a module that cannot be imported with a current torchvision."""
    mend_torchvision()
    import torch
    from imagebind.models.multimodal_preprocessors import SimpleTokenizer
    from PIL import Image
    from torchvision import transforms

    folder = Path(find_spec("imagebind").submodule_search_locations[0])
    tree = ast.parse((folder / "data.py").read_text())
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in names]
    namespace = {"torch": torch, "Image": Image, "transforms": transforms, "SimpleTokenizer": SimpleTokenizer}
    namespace["return_bpe_path"] = lambda: str(folder / "bpe" / "bpe_simple_vocab_16e6.txt.gz")
    exec(compile(tree, "data.py", "exec"), namespace)
    return namespace


@pytest.mark.parametrize(
    "name",
    [
        "modality_trunks.vision.blocks.0.attn.in_proj_weight",
        "modality_trunks.audio.blocks.1.mlp.fc1.weight",
        "modality_preprocessors.text.token_embedding.weight",
        "modality_heads.text.proj.1.weight",
        "modality_postprocessors.text.1.log_logit_scale",
    ],
)
def test_missing_weights_are_refused(changed, name):
    with pytest.raises(WeightsMismatch, match="lacks") as caught:
        changed(**{name.replace(".", "__"): None}).encode_queries(["a"])
    assert name in caught.value.message


def test_the_sizes_of_the_real_model_are_read_from_its_weights(tmp_path):
    from imagebind_docrag.library import load_library
    from imagebind_docrag.weights import UninitialisedParameters, sizes_of

    model_module = sys.modules[load_library().model_class.__module__]
    with UninitialisedParameters():
        state = model_module.imagebind_huge().state_dict()
    assert sizes_of(state, tmp_path, 1024) == {
        **{"out_embed_dim": 1024, "depth_num_blocks": 0, "thermal_num_blocks": 0, "imu_num_blocks": 0},
        **{"vision_embed_dim": 1280, "vision_num_blocks": 32, "vision_num_heads": 16},
        **{"text_embed_dim": 1024, "text_num_blocks": 24, "text_num_heads": 16},
        **{"audio_embed_dim": 768, "audio_num_blocks": 12, "audio_num_heads": 12},
    }


def test_weights_of_unused_towers_may_be_missing(changed, encoder):
    without_depth = changed(modality_heads__depth__2__weight=None)
    np.testing.assert_array_equal(without_depth.encode(["a"]), encoder.encode(["a"]))


def test_weights_of_other_shapes_or_names_are_refused(changed):
    import torch

    with pytest.raises(WeightsMismatch, match="512 numbers, not 1024"):
        changed(modality_heads__vision__2__weight=torch.zeros(512, 160)).encode(["a"])
    with pytest.raises(WeightsMismatch, match="has other shapes"):
        changed(modality_preprocessors__text__pos_embed=torch.zeros(1, 64, 128)).encode(["a"])
    with pytest.raises(WeightsMismatch, match=r"ImageBind does not have, such as modality_trunks\.text\.odd"):
        changed(modality_trunks__text__odd=torch.zeros(3)).encode(["a"])


def test_files_that_are_not_weights_are_refused(tmp_path, monkeypatch):
    import torch

    path = tmp_path / "other.pth"
    monkeypatch.setenv(WEIGHTS, str(path))
    path.write_bytes(gzip.compress(b"no weights"))
    with pytest.raises(ModelUnavailable, match="cannot be read as weights"):
        page_encoder("imagebind", CPU).encode_queries(["a"])
    torch.save([1, 2], path)
    with pytest.raises(WeightsMismatch, match="holds a list"):
        page_encoder("imagebind", CPU).encode_queries(["a"])


def test_bfloat16_is_close_to_float32(encoder):
    half = page_encoder("imagebind", EncoderOptions(device="cpu", dtype="bfloat16"))
    items = [make_image(1), "a ferry"]
    assert (np.sum(half.encode(items) * encoder.encode(items), axis=1) > 0.98).all()


def test_import_imagebind_still_runs_its_init(encoder):
    encoder.encode(["a"])
    assert "imagebind" not in sys.modules


@with_sound
@pytest.mark.slow
def test_an_index_is_searched_by_image_by_sound_and_by_text(encoder, changed, tmp_path, monkeypatch):
    for seed in (1, 2, 3):
        make_image(seed).save(tmp_path / f"{seed}.png")
    monkeypatch.setenv("DOCRAG_OCR", "false")
    monkeypatch.setenv("DOCRAG_DTYPE", "float32")
    open_index = partial(Index.open, tmp_path / "index", image="imagebind")
    with open_index() as index:
        assert not index.ingest([tmp_path / f"{seed}.png" for seed in (1, 2, 3)]).failures
        for seed in (1, 2, 3):
            hits = index.search(image=tmp_path / f"{seed}.png", mode="cosine")
            assert Path(hits[0].file).name == f"{seed}.png"
        sound = write_sound(tmp_path / "sound.wav", 3)
        assert len(index.search(audio=sound, mode="cosine")) == 3
        assert len(index.search("boxes", mode="cosine")) == 3
    changed(modality_heads__depth__2__weight=None)  # the variable names other weights now
    with pytest.raises(IndexMismatch):
        open_index()
