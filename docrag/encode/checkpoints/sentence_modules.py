"""Checkpoints of sentence-transformers: a chain of modules, of which each has a directory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from docrag.encode.checkpoints.checkpoint import Checkpoint
from docrag.encode.checkpoints.torchvision import mend_torchvision
from docrag.encode.options import EncoderOptions
from docrag.encode.runtime.once import guard
from docrag.errors import ModelUnavailable, WeightsMismatch

if TYPE_CHECKING:
    from sentence_transformers.base.model import BaseModel

UNUSED = ("pooler.",)
"""Weights of transformers that many text checkpoints lack; token vectors do not depend on them."""


@dataclass(frozen=True, slots=True)
class Module:
    """An entry of modules.json."""

    kind: str
    """Name of its class."""
    path: str
    """Directory in the checkpoint; empty for the checkpoint itself."""


def modules_of(checkpoint: Checkpoint) -> list[Module]:
    """The modules in the order in which they run; where no modules.json is, a model of transformers alone."""
    told = checkpoint.json("modules.json") or [{"type": "Transformer", "path": ""}]
    return [Module(str(one["type"]).rpartition(".")[2], str(one["path"])) for one in told]


def config_of(checkpoint: Checkpoint, module: Module, *names: str) -> dict[str, Any]:
    """The first of its configuration files that is there."""
    for name in names or ("config.json",):
        found = checkpoint.json(f"{module.path}/{name}" if module.path else name)
        if found is not None:
            return dict(found)
    return {}


def dimension(checkpoint: Checkpoint) -> int:
    """Length of the vectors that the last modules give, read without loading weights.

    Raises:
        ModelUnavailable: No configuration tells it.
    """
    for module in reversed(modules_of(checkpoint)):
        width = WIDTHS.get(module.kind)
        found = width(checkpoint, module) if width else 0
        if found:
            return found
    raise ModelUnavailable(
        f"{checkpoint.model}: nothing says how long its vectors are",
        f"its modules.json must end in one of {', '.join(WIDTHS)}",
    )


def load_modules(encoder_class: str, checkpoint: Checkpoint, options: EncoderOptions) -> BaseModel:
    """A model of sentence-transformers on its device, all its weights from the checkpoint.

    Args:
        encoder_class: SentenceTransformer or MultiVectorEncoder.
        checkpoint: Where it lies.
        options: Device and precision.

    Raises:
        WeightsMismatch: The checkpoint lacks weights, which would stay random.
        ModelUnavailable: It cannot be read.
        ModelError: It does not fit into memory.
    """
    _refuse_pinned_base(checkpoint)
    mend_torchvision()
    import sentence_transformers
    from safetensors import SafetensorError

    from docrag.encode.checkpoints.loading import no_progress_bar
    from docrag.encode.runtime.batches import must_fit
    from docrag.encode.runtime.device import choose_attention, choose_device, choose_dtype

    device = choose_device(options.device)
    dtype = choose_dtype(options.dtype, device)
    attention = choose_attention(device, dtype, checkpoint.architecture)
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
        told = " ".join(str(error).split())
        raise WeightsMismatch(
            f"{checkpoint.model} lacks weights: {told}", "download the checkpoint again"
        ) from error
    except (OSError, ValueError, ImportError, KeyError, SafetensorError) as error:
        raise ModelUnavailable(
            f"{checkpoint.model} cannot be loaded: {error}", "check or download the checkpoint again"
        ) from error
    model.eval().requires_grad_(False)
    return model


def _refuse_pinned_base(adapter: Checkpoint) -> None:
    """sentence-transformers looks an adapter's base up by its name alone: on the hub, what main is today.

    Raises:
        ModelUnavailable: The adapter was trained on another revision.
    """
    told = adapter.json("adapter_config.json") or {}
    if told.get("revision") in (None, "", "main") or not (adapter.base and adapter.base.revision):
        return
    name, revision = told["base_model_name_or_path"], told["revision"]
    raise ModelUnavailable(
        f"{adapter.model} stands on {name} at {revision}, and sentence-transformers would read its main",
        f"hf download {name} --revision {revision} --local-dir DIR, then set base_model_name_or_path to DIR "
        "in its adapter_config.json",
    )


def _require_complete(model: BaseModel, checkpoint: Checkpoint) -> None:
    """Load what is of transformers once more, without storage: only that call says what is missing."""
    from sentence_transformers.base.modules import Transformer

    for module, loaded in zip(modules_of(checkpoint), model, strict=False):
        if isinstance(loaded, Transformer):
            _require_weights(type(loaded.model), checkpoint, module.path)
            if checkpoint.base:  # of an adapter, from_pretrained tells what the adapter lacks, not its base
                _require_weights(type(loaded.model), checkpoint.base, "", _brought(checkpoint))


def _brought(adapter: Checkpoint) -> tuple[str, ...]:
    """Modules that an adapter has whole."""
    return tuple((adapter.json("adapter_config.json") or {}).get("modules_to_save") or ())


def _require_weights(
    model_class: Any, checkpoint: Checkpoint, path: str, brought: Collection[str] = ()
) -> None:
    from docrag.encode.checkpoints.loading import require_complete

    _, told = model_class.from_pretrained(
        str(checkpoint.path / path), output_loading_info=True, device_map="meta"
    )
    told["missing_keys"] = {key for key in told["missing_keys"] if not str(key).startswith(UNUSED)}
    require_complete(told, checkpoint, model_class.__name__, brought)


def _transformer(checkpoint: Checkpoint, module: Module) -> int:
    config = config_of(checkpoint, module)
    text = config.get("text_config") or {}
    widths = (
        config.get("embedding_dim"),
        config.get("hidden_size"),
        config.get("dim"),
        text.get("hidden_size"),
    )
    return int(next((width for width in widths if width), 0))


def _dense(checkpoint: Checkpoint, module: Module) -> int:
    return int(config_of(checkpoint, module)["out_features"])


def _pooling(checkpoint: Checkpoint, module: Module) -> int:
    config = config_of(checkpoint, module)
    width = config.get("embedding_dimension") or config["word_embedding_dimension"]
    mode = config.get("pooling_mode")
    old = sum(1 for key, used in config.items() if key.startswith("pooling_mode_") and used)
    modes = (1 if isinstance(mode, str) else len(mode)) if mode else max(1, old)
    return int(width) * modes


def _static(checkpoint: Checkpoint, module: Module) -> int:
    from safetensors import safe_open

    with safe_open(checkpoint.path / module.path / "model.safetensors", "np") as weights:
        return int(weights.get_slice("embedding.weight").get_shape()[1])


WIDTHS: Mapping[str, Callable[[Checkpoint, Module], int]] = {
    "Dense": _dense,
    "Pooling": _pooling,
    "StaticEmbedding": _static,
    "Transformer": _transformer,
}
"""Length of the vectors of a module, by its class."""
