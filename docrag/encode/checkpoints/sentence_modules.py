"""Checkpoints of sentence-transformers: a chain of modules, each with a directory of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from docrag.encode.base import EncoderOptions
from docrag.encode.checkpoints.checkpoint import Checkpoint
from docrag.encode.checkpoints.torchvision import mend_torchvision
from docrag.encode.runtime.once import guard
from docrag.errors import ModelUnavailable, WeightsMismatch

if TYPE_CHECKING:
    from sentence_transformers.base.model import BaseModel

LIBRARY = "sentence-transformers"
WHY = "reads transformers' own classes and modules.json; needs no torchvision"
UNUSED = ("pooler.",)
"""Weights of transformers that many text checkpoints lack; token vectors do not depend on them."""


@dataclass(frozen=True, slots=True)
class Module:
    """An entry of modules.json."""

    kind: str
    """Name of its class."""
    path: str
    """Its directory in the checkpoint; empty for the checkpoint itself."""


def modules_of(checkpoint: Checkpoint) -> list[Module]:
    """The modules in the order in which they run; without a modules.json, a single transformers model."""
    entries = checkpoint.json("modules.json") or [{"type": "Transformer", "path": ""}]
    return [Module(str(entry["type"]).rpartition(".")[2], str(entry["path"])) for entry in entries]


def config_of(checkpoint: Checkpoint, module: Module, *names: str) -> dict[str, Any]:
    """The first of a module's configuration files that exists."""
    for name in names or ("config.json",):
        content = checkpoint.json(f"{module.path}/{name}" if module.path else name)
        if content is not None:
            return dict(content)
    return {}


def dimension(checkpoint: Checkpoint) -> int:
    """Length of the vectors that the last modules give, read without loading weights.

    Raises:
        ModelUnavailable: No configuration file states it.
    """
    for module in reversed(modules_of(checkpoint)):
        read_width = WIDTHS.get(module.kind)
        width = read_width(checkpoint, module) if read_width else 0
        if width:
            return width
    raise ModelUnavailable(
        f"{checkpoint.model}: nothing states the length of its vectors",
        f"its modules.json must end in one of {', '.join(WIDTHS)}",
    )


def load_modules(
    encoder_class: str, checkpoint: Checkpoint, options: EncoderOptions, *, flash_attention: bool = False
) -> BaseModel:
    """Load a model of sentence-transformers onto its device, with all its weights from the checkpoint.

    Args:
        encoder_class: SentenceTransformer or MultiVectorEncoder.
        checkpoint: Where it is.
        options: Device and precision.
        flash_attention: Whether the model may use flash attention.

    Raises:
        WeightsMismatch: The checkpoint lacks weights, which would stay random.
        ModelUnavailable: It cannot be read.
        ModelError: It does not fit into memory.
    """
    _refuse_pinned_base(checkpoint)
    mend_torchvision()
    import sentence_transformers
    from safetensors import SafetensorError

    from docrag.encode.checkpoints.loading import log_loaded, no_progress_bar
    from docrag.encode.runtime.batches import must_fit
    from docrag.encode.runtime.device import choose_attention, choose_device, choose_dtype

    started = time.perf_counter()
    device = choose_device(options.device)
    dtype = choose_dtype(options.dtype, device)
    attention = choose_attention(device, dtype, flash_attention)
    settings = {"dtype": dtype, "attn_implementation": attention}
    try:
        with no_progress_bar(), must_fit(checkpoint.model, device):
            model: BaseModel = getattr(sentence_transformers, encoder_class)(
                str(checkpoint.path), device=device, model_kwargs=settings, local_files_only=True
            )
            model.to(dtype)  # projections too, which sentence-transformers leaves in float32
        with no_progress_bar():
            _require_complete(model, checkpoint)
        guard(model.tokenizer)
    except RuntimeError as error:  # load_state_dict of a module that is not of transformers
        reason = " ".join(str(error).split())
        raise WeightsMismatch(
            f"{checkpoint.model} lacks weights: {reason}", "download the checkpoint again"
        ) from error
    except (OSError, ValueError, ImportError, KeyError, SafetensorError) as error:
        raise ModelUnavailable(
            f"{checkpoint.model} cannot be loaded: {error}", "check or download the checkpoint again"
        ) from error
    model.eval().requires_grad_(False)
    log_loaded(checkpoint.model, device, dtype, attention, started)
    return model


def _refuse_pinned_base(adapter: Checkpoint) -> None:
    """Refuse an adapter whose base must have a certain revision.

    sentence-transformers looks the base up by its name alone, which on the hub means today's main branch.

    Raises:
        ModelUnavailable: The adapter was trained on another revision.
    """
    config = adapter.json("adapter_config.json") or {}
    if config.get("revision") in (None, "", "main") or not (adapter.base and adapter.base.revision):
        return
    name, revision = config["base_model_name_or_path"], config["revision"]
    raise ModelUnavailable(
        f"{adapter.model} needs {name} at revision {revision}, but sentence-transformers would read its main",
        f"hf download {name} --revision {revision} --local-dir DIR, then set base_model_name_or_path to DIR "
        "in its adapter_config.json",
    )


def _require_complete(model: BaseModel, checkpoint: Checkpoint) -> None:
    """Load the transformers modules once more, without storage: only that call reports missing weights."""
    from sentence_transformers.base.modules import Transformer

    for module, loaded in zip(modules_of(checkpoint), model, strict=False):
        if isinstance(loaded, Transformer):
            model_class = type(loaded.model)
            _require_weights(model_class, checkpoint, module.path)
            if (
                checkpoint.base
            ):  # for an adapter, from_pretrained reports what the adapter lacks, not its base
                _require_weights(model_class, checkpoint.base, "", _modules_to_save(checkpoint))


def _modules_to_save(adapter: Checkpoint) -> tuple[str, ...]:
    """Modules whose weights an adapter contains completely."""
    return tuple((adapter.json("adapter_config.json") or {}).get("modules_to_save") or ())


def _require_weights(
    model_class: Any, checkpoint: Checkpoint, path: str, from_adapter: Collection[str] = ()
) -> None:
    from docrag.encode.checkpoints.loading import require_complete

    _, loading_info = model_class.from_pretrained(
        str(checkpoint.path / path), output_loading_info=True, device_map="meta"
    )
    loading_info["missing_keys"] = {
        key for key in loading_info["missing_keys"] if not str(key).startswith(UNUSED)
    }
    require_complete(loading_info, checkpoint, model_class.__name__, from_adapter)


def _transformer_width(checkpoint: Checkpoint, module: Module) -> int:
    config = config_of(checkpoint, module)
    text_config = config.get("text_config") or {}
    widths = (
        config.get("embedding_dim"),
        config.get("hidden_size"),
        config.get("dim"),
        text_config.get("hidden_size"),
    )
    return int(next((width for width in widths if width), 0))


def _dense_width(checkpoint: Checkpoint, module: Module) -> int:
    return int(config_of(checkpoint, module)["out_features"])


def _pooling_width(checkpoint: Checkpoint, module: Module) -> int:
    """The width of a token vector, once for each way of pooling: their results are concatenated."""
    config = config_of(checkpoint, module)
    width = int(config.get("embedding_dimension") or config["word_embedding_dimension"])
    mode = config.get("pooling_mode")
    if isinstance(mode, str):
        return width
    if mode:
        return width * len(mode)
    old_modes = [key for key, used in config.items() if key.startswith("pooling_mode_") and used]
    return width * max(1, len(old_modes))


def _static_width(checkpoint: Checkpoint, module: Module) -> int:
    from safetensors import safe_open

    with safe_open(checkpoint.path / module.path / "model.safetensors", "np") as weights:
        return int(weights.get_slice("embedding.weight").get_shape()[1])


WIDTHS: Mapping[str, Callable[[Checkpoint, Module], int]] = {
    "Dense": _dense_width,
    "Pooling": _pooling_width,
    "StaticEmbedding": _static_width,
    "Transformer": _transformer_width,
}
"""Reads the length of a module's vectors, by the class of the module."""
