"""Where a checkpoint is found, and when two are the same."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from docrag.encode.base import EncoderOptions
from docrag.encode.checkpoints import checkpoint as module
from docrag.encode.checkpoints.checkpoint import NOT_NEEDED, Checkpoint, locate
from docrag.encode.checkpoints.formats import COLPALI_ENGINE, recognise
from docrag.encode.registry import name_of, page_encoder
from docrag.errors import ModelUnavailable, UnknownModel
from tests.checkpoints.families import edit_json, write_json
from tests.checkpoints.multi_vector import save_adapter

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def write(directory: Path, **files) -> Checkpoint:
    return locate(str(write_json(directory, **files)))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache of the hub, and no network."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    module._fetch.cache_clear()
    yield tmp_path / "hub"
    module._fetch.cache_clear()


def put_in_cache(hub, model, source, commit=COMMIT):
    """Lay a directory out as the hub's cache does: large files by their sha256, small ones by another."""
    home = hub / f"models--{model.replace('/', '--')}"
    snapshot = home / "snapshots" / commit
    (home / "refs").mkdir(parents=True, exist_ok=True)
    (home / "refs" / "main").write_text(commit)
    (home / "blobs").mkdir(exist_ok=True)
    for file in (file for file in Path(source).rglob("*") if file.is_file()):
        content = file.read_bytes()
        large = file.suffix == ".safetensors"
        blob = home / "blobs" / (hashlib.sha256 if large else hashlib.sha1)(content).hexdigest()
        blob.write_bytes(content)
        link = snapshot / file.relative_to(source)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return snapshot


@pytest.mark.parametrize("name", ["", "nonsense", "a/b/c", "https://example.org/a/b", "../nonsense"])
def test_a_name_that_is_nothing_is_unknown(hub, name):
    with pytest.raises(UnknownModel, match="no model") as refused:
        locate(name)
    assert "directory" in refused.value.hint


def test_a_file_is_no_checkpoint(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "model", config={})
    for name in ("model/config.json", str(tmp_path / "model" / "config.json")):
        with pytest.raises(UnknownModel, match="no model"):
            locate(name)


def test_a_hub_id_without_a_network_fails_with_what_to_do(hub):
    with pytest.raises(ModelUnavailable, match="somebody/model is not on this disk") as refused:
        locate("somebody/model")
    assert "hf download somebody/model --local-dir" in refused.value.hint


def test_a_gated_model_says_what_to_do(hub, monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError

    def refuse(*_, **__):
        raise GatedRepoError.__new__(GatedRepoError)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(ModelUnavailable, match="accept its terms") as refused:
        locate("somebody/gated")
    assert "hf auth login" in refused.value.hint


def test_a_connection_that_breaks_is_told(hub, monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import HTTPError

    def fail(*_, **__):
        raise HTTPError("proxy says no")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(ModelUnavailable, match="proxy says no"):
        locate("somebody/model")


def test_what_is_in_the_cache_is_found_without_a_network(hub, checkpoint):
    snapshot = put_in_cache(hub, "somebody/tiny", checkpoint("colqwen2-hf"))
    found = locate("somebody/tiny")
    assert (found.path, found.model, found.revision) == (snapshot, "somebody/tiny", COMMIT)
    assert locate(f"somebody/tiny@{COMMIT}").path == snapshot
    with pytest.raises(ModelUnavailable):
        locate("somebody/tiny@v2")

    spec = page_encoder("somebody/tiny").spec
    assert (spec.model, spec.revision) == ("somebody/tiny", COMMIT)
    assert name_of(spec.fingerprint()) == f"sentence-transformers:somebody/tiny@{COMMIT}"
    assert page_encoder(name_of(spec.fingerprint())).spec == spec


def test_an_encoder_from_the_cache_gives_what_its_directory_gives(hub, checkpoint):
    put_in_cache(hub, "somebody/tiny", checkpoint("colqwen2-hf"))
    options = EncoderOptions(device="cpu", dtype="float32")
    [one], [other] = (
        page_encoder(name, options).encode_queries(["ferry"])
        for name in ("somebody/tiny", checkpoint("colqwen2-hf"))
    )
    np.testing.assert_array_equal(one.vectors, other.vectors)


def test_the_digest_is_that_of_the_contents_wherever_they_lie(hub, checkpoint, tmp_path):
    source = Path(checkpoint("colqwen2-hf"))
    snapshot = put_in_cache(hub, "somebody/tiny", source)
    moved = tmp_path / "elsewhere"
    shutil.copytree(source, moved)
    (moved / "README.md").write_text("Prose changes no vector.")
    digest = locate(str(source)).digest
    assert locate(str(moved)).digest == digest
    assert locate("somebody/tiny").digest == digest

    blob = (snapshot / "model.safetensors").resolve()
    blob.write_bytes(b"not read")  # its name is its digest
    assert Checkpoint(snapshot, "somebody/tiny", COMMIT).digest == digest


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "tokenizer.json", "1_Dense/config.json"]
)
def test_the_digest_changes_with_what_makes_vectors(checkpoint, tmp_path, name):
    source = Path(checkpoint("multi-vector"))
    copy = tmp_path / "copy"
    shutil.copytree(source, copy)
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert locate(str(copy)).digest != locate(str(source)).digest


def test_an_adapter_stands_on_its_base(hub, tmp_path):
    base = write(tmp_path / "base", config={"architectures": ["ColQwen2"]})
    config = {"base_model_name_or_path": str(base.path), "auto_mapping": None}
    adapter = write(tmp_path / "adapter", adapter_config=config)
    assert adapter.base == base
    assert base.base is None
    assert adapter.architecture == "ColQwen2"
    assert recognise(adapter) is COLPALI_ENGINE

    before = adapter.digest
    write(tmp_path / "base", config={"architectures": ["ColQwen2"], "hidden_size": 1})
    assert locate(str(adapter.path)).digest != before
    named = write(
        tmp_path / "named", adapter_config={**config, "auto_mapping": {"base_model_class": "ColPali"}}
    )
    assert named.architecture == "ColPali"


def test_an_adapter_on_a_base_of_the_cache(hub, checkpoint, tmp_path):
    put_in_cache(hub, "somebody/base", checkpoint("colqwen2"))
    adapter = write(tmp_path / "adapter", adapter_config={"base_model_name_or_path": "somebody/base"})
    assert adapter.base.revision == COMMIT
    assert adapter.architecture == "ColQwen2"


def test_an_adapter_stands_on_the_revision_of_its_base(hub, checkpoint, tmp_path):
    put_in_cache(hub, "somebody/base", checkpoint("colqwen2"))
    pinned = "f" * 40
    put_in_cache(hub, "somebody/base", checkpoint("colpali"), pinned)
    (hub / "models--somebody--base" / "refs" / "main").write_text(COMMIT)
    config = {"base_model_name_or_path": "somebody/base"}
    adapter = write(tmp_path / "adapter", adapter_config={**config, "revision": pinned})
    assert (adapter.base.revision, adapter.architecture) == (pinned, "ColPali")
    assert write(tmp_path / "free", adapter_config={**config, "revision": None}).base.revision == COMMIT
    with pytest.raises(ModelUnavailable, match="not on this disk"):
        _ = write(tmp_path / "gone", adapter_config={**config, "revision": "0" * 40}).base

    local = write(tmp_path / "base", config={})
    config = {"base_model_name_or_path": str(local.path), "revision": "main"}
    assert write(tmp_path / "local", adapter_config=config).base == local


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft's call
def test_sentence_transformers_is_not_let_read_another_revision_of_the_base(hub, checkpoint, tmp_path):
    """It drops the revision, and would put the adapter on what main is by now, without a word."""
    base = Path(checkpoint("multi-vector"))
    adapter = save_adapter(base, tmp_path / "adapter")
    put_in_cache(hub, "somebody/base", checkpoint("colpali"), "f" * 40)
    put_in_cache(hub, "somebody/base", base)
    config = {"base_model_name_or_path": "somebody/base"}
    edit_json(adapter / "adapter_config.json", **config, revision="f" * 40)
    with pytest.raises(ModelUnavailable, match="would read its main") as refused:
        page_encoder(str(adapter)).encode_queries(["ferry"])
    assert f"--revision {'f' * 40} --local-dir" in refused.value.hint
    edit_json(adapter / "adapter_config.json", revision="main")
    assert page_encoder(str(adapter)).encode_queries(["ferry"])


@pytest.mark.parametrize("base", ["/home/somebody/models/paligemma", "./models/base/x", "", None])
def test_an_adapter_whose_base_is_nowhere_says_so(hub, tmp_path, base):
    adapter = write(tmp_path / "adapter", adapter_config={"base_model_name_or_path": base})
    with pytest.raises(ModelUnavailable, match="is an adapter of") as refused:
        recognise(adapter)
    assert "adapter_config.json" in refused.value.hint


def test_states_of_a_training_are_not_downloaded():
    from huggingface_hub.utils import filter_repo_objects

    files = [
        "adapter_model.safetensors",
        "checkpoint-2310/optimizer.pt",
        "1_Dense/model.safetensors",
        "model.onnx",
    ]
    kept = list(filter_repo_objects(files, ignore_patterns=NOT_NEEDED))
    assert kept == ["adapter_model.safetensors", "1_Dense/model.safetensors"]


def test_files_that_are_never_fetched_do_not_count(checkpoint, tmp_path):
    """`hf download --local-dir` brings all of a repository, docrag only what is read."""
    whole = tmp_path / "whole"
    shutil.copytree(checkpoint("multi-vector"), whole)
    digest = locate(checkpoint("multi-vector")).digest
    unread = ["checkpoint-2310/trainer_state.json", "checkpoint-2310/model.safetensors", "pytorch_model.bin"]
    unread += ["openvino/openvino_config.json", "pytorch_model.bin.index.json", "1_Dense/pytorch_model.bin"]
    for name in unread:
        (whole / name).parent.mkdir(exist_ok=True)
        (whole / name).write_bytes(b"{}")
    assert locate(str(whole)).digest == digest

    (whole / "1_Dense" / "model.safetensors").unlink()  # now the other is read
    before = locate(str(whole)).digest
    (whole / "1_Dense" / "pytorch_model.bin").write_bytes(b"changed")
    assert locate(str(whole)).digest != before


@pytest.mark.parametrize(
    ("files", "fetched"),  # the first so many
    [
        (["model.safetensors", "pytorch_model.bin"], 1),
        (["model-00001-of-00002.safetensors", "model.safetensors.index.json", "pytorch_model-00001.bin"], 2),
        (["model.fp16.safetensors", "pytorch_model.bin"], 2),  # which nobody reads unasked
        (["adapter_model.safetensors", "config.json", "adapter_model.bin"], 2),
        (["model.safetensors", "2_Dense/pytorch_model.bin"], 2),
        (["0_CLIPModel/model.safetensors", "0_CLIPModel/pytorch_model.bin"], 1),
        (["pytorch_model.bin", "training_args.bin"], 2),
    ],
)
def test_weights_are_fetched_in_one_format(hub, tmp_path, monkeypatch, files, fetched):
    import huggingface_hub
    from huggingface_hub.utils import filter_repo_objects

    seen = []

    def download(model, *, revision, ignore_patterns):
        seen.extend(filter_repo_objects(files, ignore_patterns=ignore_patterns))
        return tmp_path / "snapshot"

    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda model, *, revision: files)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    locate("somebody/model@v1")
    assert seen == files[:fetched]
