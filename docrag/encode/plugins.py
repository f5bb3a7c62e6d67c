"""Encoders that other packages offer, through the entry-point group docrag.encoders.

    [project.entry-points."docrag.encoders"]
    colour-histogram = "colour_docrag:ColourHistogram"

The object that the entry point names is called with EncoderOptions and returns a PageEncoder. In its spec,
`family` must be the name of the entry point, since an index finds its encoder again by that name, and
`library` must not be one of those that read checkpoints. The call should be fast: load weights when they are
first used, and raise ModelUnavailable if something is missing. A plug-in cannot take a name that docrag uses.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from itertools import groupby
from typing import Any, cast

from docrag.encode.base import EncoderOptions, PageEncoder
from docrag.errors import DocragError, ModelUnavailable

ENTRY_POINTS = "docrag.encoders"
REQUIRED = ("spec", "encode_pages", "encode_queries")
"""The attributes that every page encoder has."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """A name under which installed packages offer an encoder."""

    name: str
    points: tuple[EntryPoint, ...]
    """One entry point; more if several packages compete for the name."""

    @property
    def packages(self) -> str:
        """The packages that offer it."""
        return ", ".join(sorted(point.dist.name if point.dist else point.value for point in self.points))

    def open(self, options: EncoderOptions, reserved_libraries: Collection[str]) -> PageEncoder:
        """The encoder.

        Args:
            options: How it is run.
            reserved_libraries: The libraries that its spec must not name.

        Raises:
            ModelUnavailable: The plug-in cannot be used, whatever the reason.
            SettingsError: The encoder does not support the options.
        """
        if len(self.points) > 1:
            raise self._unusable(f"is offered by {self.packages}", "uninstall all but one of these packages")
        try:
            encoder = self.points[0].load()(options)
            problem = _problem(self.name, encoder, reserved_libraries)
        except DocragError:
            raise
        except Exception as error:  # code of another package may raise anything
            raise self._unusable(
                f"of {self.packages} cannot be loaded: {type(error).__name__}: {error}",
                f"install what {self.packages} needs, or another version of it",
            ) from error
        if problem:
            raise self._unusable(
                f"of {self.packages} {problem}", f"report this to the authors of {self.packages}"
            )
        return cast(PageEncoder, encoder)

    def _unusable(self, reason: str, hint: str) -> ModelUnavailable:
        return ModelUnavailable(f"the encoder {self.name} {reason}", hint)


def find_plugins() -> dict[str, Plugin]:
    """All plug-ins that installed packages offer, by name; none of them is imported."""
    points = sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name)
    by_name = groupby(points, key=lambda point: point.name)
    return {name: Plugin(name, tuple(same_name)) for name, same_name in by_name}


def _problem(name: str, encoder: Any, reserved_libraries: Collection[str]) -> str:
    """What is wrong with an encoder; empty if nothing is."""
    missing = [attribute for attribute in REQUIRED if not hasattr(encoder, attribute)]
    if missing:
        return f"is not a page encoder: it has no {' and no '.join(missing)}"
    spec = encoder.spec
    if spec.family != name:
        return f"names its family {spec.family!r}; it must be the name of its entry point, {name!r}"
    if spec.library in reserved_libraries:
        return f"names its library {spec.library!r}, which is reserved for docrag's own encoders"
    if spec.kind not in ("late", "single"):
        return f"is of kind {spec.kind!r}; page encoders are of kind late or single"
    return ""
