"""Which class encodes under which name: tables of strings, so that only what is used is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, cast

from docrag.encode.base import PageEncoder, TextEncoder
from docrag.errors import ModelUnavailable, UnknownModel

PAGE_ENCODERS: Mapping[str, str] = {
    "minilm": "docrag.encode.minilm:MiniLMPages",
}
TEXT_ENCODERS: Mapping[str, str] = {
    "minilm": "docrag.encode.minilm:MiniLMText",
}
ENTRY_POINTS = "docrag.encoders"
"""Entry-point group in which other packages offer page encoders; the class is called without arguments."""


def page_encoder(name: str) -> PageEncoder:
    """The page encoder of that name.

    Raises:
        UnknownModel: Neither docrag nor an installed package offers one.
        ModelUnavailable: Its package cannot be imported.
    """
    return cast(PageEncoder, _construct(name, {**PAGE_ENCODERS, **_outside()}))


def text_encoder(name: str) -> TextEncoder:
    """The text encoder of that name; errors as for page_encoder."""
    return cast(TextEncoder, _construct(name, TEXT_ENCODERS))


def list_models() -> list[dict[str, str | int]]:
    """What there is to know of every encoder, with the option that takes it."""
    encoders = [(name, page_encoder(name).spec) for name in sorted({**PAGE_ENCODERS, **_outside()})]
    rows = [("--late" if spec.kind == "late" else "--image", name, spec) for name, spec in encoders]
    rows += [("--text", name, text_encoder(name).spec) for name in sorted(TEXT_ENCODERS)]
    return [{"name": name, "option": option, **asdict(spec)} for option, name, spec in rows]


def _outside() -> dict[str, str]:
    return {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}


def _construct(name: str, table: Mapping[str, str]) -> Any:
    if name not in table:
        raise UnknownModel(f"no model {name!r}", f"one of {', '.join(sorted(table))}; see `docrag models`")
    module, _, attribute = table[name].partition(":")
    try:
        return getattr(import_module(module), attribute)()
    except ImportError as error:
        raise ModelUnavailable(f"{name}: {error}", "install the package that it needs") from error
