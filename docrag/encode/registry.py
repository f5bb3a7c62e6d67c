"""Which encoder goes by which name: tables of strings, so that only what is used is imported.

A name is, in this order: an encoder of docrag itself, a short name of the catalogue, an encoder of another
installed package, or a checkpoint: a directory or organisation/model[@revision], with the library that is to
read it and a colon before it where more than one can. IMAGE+TEXT is an image model with another for texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from docrag.encode.base import ModelSpec, PageEncoder, TextEncoder
from docrag.encode.catalogue import CATALOGUE
from docrag.encode.checkpoints.checkpoint import locate
from docrag.encode.checkpoints.formats import LIBRARIES, recognise
from docrag.encode.models.pair import halves, open_pair, pinned
from docrag.encode.options import EncoderOptions
from docrag.encode.plugins import Plugin, find_plugins
from docrag.errors import DocragError, ModelUnavailable, UnknownModel

PAGE_ENCODERS: Mapping[str, str] = {
    "minilm": "docrag.encode.models.minilm:MiniLMPages",
    "voyage-multimodal-3": "docrag.encode.models.voyage:voyage_3",
    "voyage-multimodal-3.5": "docrag.encode.models.voyage:voyage_3_5",
    "voyage-multimodal-3.5-256": "docrag.encode.models.voyage:voyage_3_5_256",
    "voyage-multimodal-3.5-512": "docrag.encode.models.voyage:voyage_3_5_512",
    "voyage-multimodal-3.5-2048": "docrag.encode.models.voyage:voyage_3_5_2048",
}
TEXT_ENCODERS: Mapping[str, str] = {
    "minilm": "docrag.encode.models.minilm:MiniLMText",
}
OPTIONS = {"late": "--late", "single": "--image", "text": "--text"}
"""What takes a model of which kind."""


WHY = {
    "docrag": "built in; needs no download",
    "voyage": "hosted: page images are sent there",
    "colpali-engine": "the library of ColPali's authors, which reads weights as it saved them",
    "sentence-transformers": "reads transformers' own classes and modules.json; needs no torchvision",
    "transformers": "reads CLIP and SigLIP as they were trained, the padding of texts included",
}
"""Why a model is read by its library."""


def page_encoder(name: str, options: EncoderOptions | None = None) -> PageEncoder:
    """The page encoder of that name, with a process for each device where there are several.

    Weights are loaded when they are first used.

    Raises:
        UnknownModel: There is none.
        ModelUnavailable: Its package cannot be imported, or its checkpoint is not there.
        WeightsMismatch: The checkpoint is one of another library, or of no page encoder.
    """
    options = options or EncoderOptions()
    if len(options.devices) > 1:
        from docrag.encode.runtime.replicas import Replicas

        return Replicas(name, options)
    plugin = None if name in _own_names() else find_plugins().get(name)
    if plugin:
        return plugin.open(options)
    encoder = _make(name, PAGE_ENCODERS, options)
    if not hasattr(encoder, "encode_pages"):
        raise UnknownModel(f"{name} encodes texts, not pages", "give it as --text")
    return cast(PageEncoder, encoder)


def text_encoder(name: str, options: EncoderOptions | None = None) -> TextEncoder:
    """The text encoder of that name, on the first device; errors as for page_encoder."""
    options = options or EncoderOptions()
    encoder = _make(name, TEXT_ENCODERS, options.on(options.devices[0]))
    if not hasattr(encoder, "encode_passages"):
        raise UnknownModel(f"{name} encodes pages, not captions", "give it as --late or --image")
    return cast(TextEncoder, encoder)


def name_of(told: Mapping[str, Any]) -> str:
    """The name under which the encoder of a fingerprint is found again."""
    if told["library"] not in LIBRARIES:
        return str(told["family"])
    return f"{told['library']}:{pinned(told['model'], told['revision'])}"


def is_name_of(name: str, told: Mapping[str, Any]) -> bool:
    """Whether a name, short or long, means the encoder of a fingerprint."""
    listed = CATALOGUE.get(name)
    directories = [str(Path(half).expanduser().resolve()) for half in halves(name) or (name,)]
    means = {name, listed.model if listed else name, "+".join(directories)}
    own = told["model"] if told["library"] in LIBRARIES else told["family"]
    return bool(means & {name_of(told), own})


def list_models() -> list[dict[str, str | int]]:
    """What there is to know of every encoder that has a name, with the option that takes it.

    An encoder of another package that cannot be used has no option, but says why under "unavailable".
    """
    rows = [_row(name, page_encoder(name).spec) for name in sorted(PAGE_ENCODERS)]
    rows += [_row(name, text_encoder(name).spec) for name in sorted(TEXT_ENCODERS)]
    for name, listed in CATALOGUE.items():
        rows.append({"name": name, **listed._asdict(), "option": f"--{listed.option}"})
    rows += [_plugin_row(plugin) for plugin in find_plugins().values()]
    return [{**row, "why": WHY.get(str(row["library"]), "a plug-in")} for row in rows]


def describe(name: str) -> dict[str, str | int]:
    """What there is to know of one encoder, by any name; of a checkpoint without loading its weights.

    Raises:
        UnknownModel: There is none.
        ModelUnavailable: Its package or its checkpoint is not there.
        WeightsMismatch: No library reads the checkpoint.
    """
    for row in list_models():
        if row["name"] == name:
            return row
    encoder = _make(name, {**PAGE_ENCODERS, **TEXT_ENCODERS}, EncoderOptions())
    return {**_row(name, encoder.spec), "why": WHY[encoder.spec.library]}


def _make(name: str, table: Mapping[str, str], options: EncoderOptions) -> Any:
    if name in table:
        return _load(name, table[name])(options)
    listed = CATALOGUE.get(name)
    asked = f"{listed.library}:{listed.model}" if listed else name
    library, colon, rest = asked.partition(":")
    library, rest = (library, rest) if colon and library in LIBRARIES else ("", asked)
    pair = halves(rest)
    if pair:
        image, text = (f"{library}:{pair[0]}" if library else pair[0]), pair[1]
        return open_pair(_make(image, table, options), _make(text, TEXT_ENCODERS, options), options)
    try:
        checkpoint = locate(rest)
    except UnknownModel as error:
        known = sorted({*table, *CATALOGUE, *find_plugins()})
        raise UnknownModel(error.message, f"{error.hint}; names: {', '.join(known)}") from None
    return _load(name, recognise(checkpoint, library).opens)(checkpoint, options)


def _load(name: str, where: str) -> Any:
    module, _, attribute = where.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except ImportError as error:
        if (error.name or "").startswith("docrag."):  # no package is missing: that is a defect of docrag
            raise
        raise ModelUnavailable(f"{name}: {error}", "install the package that it needs") from error


def _own_names() -> set[str]:
    return {*PAGE_ENCODERS, *TEXT_ENCODERS, *CATALOGUE}


def _row(name: str, spec: ModelSpec) -> dict[str, str | int]:
    return {"name": name, "option": OPTIONS[spec.kind], **asdict(spec)}


def _plugin_row(plugin: Plugin) -> dict[str, str | int]:
    row: dict[str, str | int] = {"name": plugin.name, "option": "", "library": plugin.packages}
    if plugin.name in _own_names():
        why = f"{plugin.name} is a name of docrag's own, which {plugin.packages} cannot take"
        return {**row, "unavailable": why}
    try:
        return _row(plugin.name, plugin.open(EncoderOptions()).spec)
    except DocragError as error:
        return {**row, "unavailable": str(error)}
