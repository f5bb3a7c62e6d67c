"""Finds the encoder that a name stands for.

FAMILIES names one module per model family, as strings, so that only the families in use are imported. Each
module declares everything else about its family in one Family object.

A name is looked up in this order: an encoder that docrag has built in, the short name of a well-known
checkpoint, an encoder of another installed package, a checkpoint. A checkpoint is a directory or a hub id,
organisation/model[@revision]; a library and a colon before it choose one of several libraries that can read
it. IMAGE+TEXT joins an image model with a separate model for texts.

Modules for checkpoints, pairs, plug-ins and several devices are imported by the functions that need them, so
that opening an index with the default models loads none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from docrag.encode.base import CheckpointCard, EncoderOptions, Family, ModelSpec, PageEncoder, TextEncoder
from docrag.encode.runtime.extras import has_torch, require_torch
from docrag.errors import DocragError, ModelUnavailable, UnknownModel

if TYPE_CHECKING:
    from docrag.encode.plugins import Plugin

FAMILIES: Mapping[str, str] = {
    "minilm": "docrag.encode.models.minilm:FAMILY",
    "voyage": "docrag.encode.models.voyage:FAMILY",
    "colpali": "docrag.encode.models.colpali:FAMILY",
    "multi-vector": "docrag.encode.models.multi_vector:FAMILY",
    "clip": "docrag.encode.models.clip:FAMILY",
    "siglip": "docrag.encode.models.siglip:FAMILY",
    "sentences": "docrag.encode.models.sentences:FAMILY",
}
"""module:attribute of each family's declaration. A family with a built-in encoder of its own name is found
under that name without importing the others."""

OPTIONS = {"late": "--late", "single": "--image", "text": "--text"}
"""The command-line option that takes a model, by ModelSpec.kind."""

Role = Literal["pages", "texts"]
"""Which of a family's built-in encoders a name may mean: the fields of Family."""


def page_encoder(name: str, options: EncoderOptions | None = None) -> PageEncoder:
    """The page encoder of a name; with several devices, one that runs a process on each of them.

    Weights are loaded when they are first used.

    Raises:
        UnknownModel: No encoder has this name.
        ModelUnavailable: Its package is not installed, or its checkpoint cannot be found.
        WeightsMismatch: The checkpoint belongs to another library, or no encoder can read it.
    """
    options = options or EncoderOptions()
    if len(options.devices) > 1:
        from docrag.encode.runtime.replicas import Replicas

        return Replicas(page_encoder, name, options)
    plugin = _plugin_named(name)
    if plugin:
        return plugin.open(options, checkpoint_libraries())
    _require_library(name, "pages")
    encoder = _open(name, "pages", options)
    if not hasattr(encoder, "encode_pages"):
        raise UnknownModel(f"{name} encodes texts, not pages", "give it as --text")
    return cast(PageEncoder, encoder)


def text_encoder(name: str, options: EncoderOptions | None = None) -> TextEncoder:
    """The text encoder of a name, on the first of the devices; raises the same errors as page_encoder."""
    options = options or EncoderOptions()
    _require_library(name, "texts")
    encoder = _open(name, "texts", options.on(options.devices[0]))
    if not hasattr(encoder, "encode_passages"):
        raise UnknownModel(f"{name} encodes pages, not captions", "give it as --late or --image")
    return cast(TextEncoder, encoder)


def name_of(fingerprint: Mapping[str, Any]) -> str:
    """The name that finds the encoder of a fingerprint again."""
    library = fingerprint["library"]
    # minilm is recognised without loading the other families.
    if library == "docrag" or library not in checkpoint_libraries():
        return str(fingerprint["family"])
    from docrag.encode.models.pair import pinned

    return f"{library}:{pinned(fingerprint['model'], fingerprint['revision'])}"


def is_name_of(name: str, fingerprint: Mapping[str, Any]) -> bool:
    """Whether a name, short or long, means the encoder of a fingerprint."""
    from docrag.encode.models.pair import halves

    card = find_card(name)
    directories = [str(Path(half).expanduser().resolve()) for half in halves(name) or (name,)]
    meanings = {name, card.model if card else name, "+".join(directories)}
    reads_checkpoints = fingerprint["library"] in checkpoint_libraries()
    own_name = fingerprint["model" if reads_checkpoints else "family"]
    return bool(meanings & {name_of(fingerprint), own_name})


def find_card(name: str) -> CheckpointCard | None:
    """What is known about the checkpoint of a short name; None if no family declares one."""
    family = find_family("checkpoints", name)
    return family.checkpoints[name] if family else None


def list_models() -> list[dict[str, str | int]]:
    """What is known about every encoder that has a name, with the option that takes it.

    A plug-in that cannot be used has no option; "unavailable" says why.
    """
    families = load_families()
    page_names = sorted(name for family in families for name in family.pages)
    text_names = sorted(name for family in families for name in family.texts)
    rows = [_spec_row(name, page_encoder(name).spec) for name in page_names]
    rows += [_spec_row(name, text_encoder(name).spec) for name in text_names]
    rows += [
        _card_row(name, family.library, card)
        for family in families
        for name, card in family.checkpoints.items()
    ]
    rows += [_plugin_row(plugin) for plugin in _find_plugins().values()]
    return [_with_reason(row) for row in rows]


def describe(name: str) -> dict[str, str | int]:
    """What is known about one encoder, given any of its names; a checkpoint's weights are not loaded.

    Raises:
        UnknownModel: No encoder has this name.
        ModelUnavailable: Its package or its checkpoint cannot be found.
        WeightsMismatch: No library reads the checkpoint.
    """
    for row in list_models():
        if row["name"] == name:
            return row
    return _with_reason(_spec_row(name, _open(name, "pages", EncoderOptions()).spec))


def load_family(name: str) -> Family:
    """The declaration of one family of the table.

    Raises:
        ModelUnavailable: A package that its module needs is not installed.
        TypeError: The table does not lead to a Family: a defect of docrag.
    """
    family = _import(name, FAMILIES[name])
    if not isinstance(family, Family):
        raise TypeError(f"{FAMILIES[name]} is no Family")
    return family


def load_families() -> list[Family]:
    """The declarations of all families, in the order of the table."""
    return [load_family(name) for name in FAMILIES]


def find_family(field: Literal["pages", "texts", "checkpoints"], name: str) -> Family | None:
    """The family that declares a name; None if there is none.

    Raises:
        ValueError: Several families declare it: a defect of docrag.
    """
    from docrag.encode.checkpoints.formats import only_family

    return only_family(load_families(), field, name)


def checkpoint_libraries() -> list[str]:
    """The libraries that read checkpoints."""
    return list(dict.fromkeys(family.library for family in load_families() if family.opens))


def _open(name: str, role: Role, options: EncoderOptions) -> Any:
    """The encoder of a name on one device; plug-ins are not considered."""
    family = _built_in_family(name, role)
    if family:
        return getattr(family, role)[name](options)
    return _open_checkpoint(name, role, options)


def _built_in_family(name: str, role: Role) -> Family | None:
    """The family that has a built-in encoder of this name."""
    if name in FAMILIES and name in getattr(load_family(name), role):
        return load_family(name)
    return find_family(role, name)


def _open_checkpoint(name: str, role: Role, options: EncoderOptions) -> Any:
    """The encoder of a checkpoint or of a pair of checkpoints, by short name, hub id or directory."""
    from docrag.encode.checkpoints.checkpoint import locate
    from docrag.encode.checkpoints.formats import recognise
    from docrag.encode.models.pair import halves, open_pair

    library, model = _split_library(name)
    family = find_family("checkpoints", name)
    if family:
        library, model = family.library, family.checkpoints[name].model
    pair = halves(model)
    if pair:
        image, text = pair
        image_encoder = _open(f"{library}:{image}" if library else image, role, options)
        return open_pair(image_encoder, _open(text, "texts", options), options)
    try:
        checkpoint = locate(model)
    except UnknownModel as error:
        hint = f"{error.hint}; names: {', '.join(_known_names(role))}"
        raise UnknownModel(error.message, hint) from None
    opens = recognise(checkpoint, load_families(), library).opens
    assert opens is not None  # Family refuses to be declared without
    return opens(checkpoint, options)


def _require_library(name: str, role: Role) -> None:
    """Refuse a checkpoint that no installed library can run, before it is downloaded.

    Raises:
        ModelUnavailable: The extra `models` is not installed.
    """
    if has_torch() or _built_in_family(name, role):
        return
    _, model = _split_library(name)
    if find_card(name) or "/" in model or Path(model).expanduser().is_dir():
        require_torch(name)


def _split_library(name: str) -> tuple[str, str]:
    """The library that a name asks for, empty if it names none, and the model."""
    library, colon, model = name.partition(":")
    return (library, model) if colon and library in checkpoint_libraries() else ("", name)


def _known_names(role: Role) -> list[str]:
    names = set(_find_plugins())
    for family in load_families():
        names.update(getattr(family, role), family.checkpoints)
    return sorted(names)


def _import(name: str, where: str) -> Any:
    """The object of a module:attribute string."""
    module, _, attribute = where.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except ImportError as error:
        if (error.name or "").startswith("docrag."):  # a defect of docrag: no package is missing
            raise
        raise ModelUnavailable(f"{name}: {error}", "install the package that it needs") from error


def _find_plugins() -> dict[str, Plugin]:
    from docrag.encode.plugins import find_plugins

    return find_plugins()


def _plugin_named(name: str) -> Plugin | None:
    """The plug-in of a name; none for a name that docrag uses."""
    if _built_in_family(name, "pages") or _is_own_name(name):
        return None
    return _find_plugins().get(name)


def _is_own_name(name: str) -> bool:
    """Whether docrag itself uses a name, so that no plug-in may take it."""
    fields: tuple[Literal["pages", "texts", "checkpoints"], ...] = ("pages", "texts", "checkpoints")
    return any(find_family(field, name) for field in fields)


def _spec_row(name: str, spec: ModelSpec) -> dict[str, str | int]:
    return {"name": name, "option": OPTIONS[spec.kind], **asdict(spec)}


def _card_row(name: str, library: str, card: CheckpointCard) -> dict[str, str | int]:
    return {
        "name": name,
        "option": f"--{card.option}",
        "library": library,
        "model": card.model,
        "licence": card.licence,
        "dim": card.dim,
        "vectors": card.vectors,
    }


def _plugin_row(plugin: Plugin) -> dict[str, str | int]:
    row: dict[str, str | int] = {"name": plugin.name, "option": "", "library": plugin.packages}
    if _is_own_name(plugin.name):
        reason = f"{plugin.name} is a name of docrag's own, which {plugin.packages} cannot take"
        return {**row, "unavailable": reason}
    try:
        return _spec_row(plugin.name, plugin.open(EncoderOptions(), checkpoint_libraries()).spec)
    except DocragError as error:
        return {**row, "unavailable": str(error)}


def _with_reason(row: dict[str, str | int]) -> dict[str, str | int]:
    """A row of the list, with the reason why its library reads it."""
    reasons = {family.library: family.why for family in load_families()}
    return {**row, "why": reasons.get(str(row["library"]), "a plug-in")}
