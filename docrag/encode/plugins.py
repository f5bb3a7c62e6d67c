"""Encoders that other packages offer, by the entry-point group docrag.encoders.

    [project.entry-points."docrag.encoders"]
    colour-histogram = "colour_docrag:ColourHistogram"

What the entry point names is called with EncoderOptions and gives a PageEncoder. Its spec must say the entry
point's name as the family, since an index finds its encoder again by it, and a library that is not one of
those that read checkpoints. It should be quick to make: weights are loaded when they are first used, and
what is missing is told by ModelUnavailable. Names of docrag's own stay docrag's.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from itertools import groupby
from typing import Any, cast

from docrag.encode.base import PageEncoder
from docrag.encode.checkpoints.formats import LIBRARIES
from docrag.encode.options import EncoderOptions
from docrag.errors import DocragError, ModelUnavailable

ENTRY_POINTS = "docrag.encoders"
REQUIRED = ("spec", "encode_pages", "encode_queries")
"""What a page encoder has."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """A name under which installed packages offer an encoder."""

    name: str
    points: tuple[EntryPoint, ...]
    """One; more where packages compete for the name."""

    @property
    def packages(self) -> str:
        """Who offers it."""
        return ", ".join(sorted(point.dist.name if point.dist else point.value for point in self.points))

    def open(self, options: EncoderOptions) -> PageEncoder:
        """The encoder.

        Raises:
            ModelUnavailable: The package cannot be used, whatever the reason.
            SettingsError: The encoder cannot follow the options.
        """
        if len(self.points) > 1:
            raise self._unusable(f"is offered by {self.packages}", "remove all of these packages but one")
        try:
            encoder = self.points[0].load()(options)
            wrong = _objection(self.name, encoder)
        except DocragError:
            raise
        except Exception as error:  # a stranger's code may raise anything
            raise self._unusable(
                f"of {self.packages} cannot be loaded: {type(error).__name__}: {error}",
                f"install what {self.packages} needs, or another version of it",
            ) from error
        if wrong:
            raise self._unusable(f"of {self.packages} {wrong}", f"tell the makers of {self.packages}")
        return cast(PageEncoder, encoder)

    def _unusable(self, why: str, hint: str) -> ModelUnavailable:
        return ModelUnavailable(f"the encoder {self.name} {why}", hint)


def find_plugins() -> dict[str, Plugin]:
    """All that installed packages offer, by name; nothing of them is imported."""
    points = sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name)
    return {name: Plugin(name, tuple(same)) for name, same in groupby(points, key=lambda point: point.name)}


def _objection(name: str, encoder: Any) -> str:
    """What is wrong with an encoder; empty where nothing is."""
    lacking = [part for part in REQUIRED if not hasattr(encoder, part)]
    if lacking:
        return f"is no page encoder: it has no {' and no '.join(lacking)}"
    spec = encoder.spec
    if spec.family != name:
        return f"calls its family {spec.family!r}; it must be the name of its entry point, {name!r}"
    if spec.library in LIBRARIES:
        return f"calls its library {spec.library!r}, which is how docrag's own encoders are found again"
    if spec.kind not in ("late", "single"):
        return f"is of kind {spec.kind!r}; page encoders are late or single"
    return ""
