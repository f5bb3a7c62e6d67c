"""What an encoder is: its protocols, the facts about its model, its options, and what a family declares.

Other packages can satisfy the protocols without importing docrag.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from docrag.errors import SettingsError
from docrag.types import MultiVector, Page

if TYPE_CHECKING:
    from PIL.Image import Image

    from docrag.encode.checkpoints.checkpoint import Checkpoint

VISION_OPTIONS = ("resolution", "max_patches")
"""The fields of EncoderOptions that change what a model sees, and therefore its vectors."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What is known about a model before it is loaded, and what makes its vectors comparable."""

    family: str
    """Name in the registry, or the architecture of the checkpoint."""
    model: str
    """The checkpoint: a hub id, a path, or a package."""
    revision: str
    digest: str
    """sha256 of the weights and their configuration; empty if the model is hosted elsewhere."""
    library: str
    """Computes the vectors; two libraries may give different vectors for the same weights."""
    dim: int
    kind: Literal["late", "single", "text"]
    """late: a vector per patch or word; single: one vector per page image; text: one vector per text."""
    needs: Literal["image", "words"]
    """The part of a page that the model looks at."""
    licence: str
    recipe: str = ""
    """Version of the choices made around the model (prompts, windows, what is dropped)."""
    image_side: int = 0
    """Pixels on the long side of the page image that the model needs; 0 if it needs no image."""
    resolution: int = 0
    """The value of EncoderOptions.resolution."""
    max_patches: int = 0
    """The value of EncoderOptions.max_patches."""

    def fingerprint(self) -> dict[str, str | int]:
        """The fields that must be equal for two sets of vectors to be comparable."""
        fields = {name: value for name, value in asdict(self).items() if name not in ("licence", "needs")}
        return {name: value for name, value in fields.items() if value or name not in VISION_OPTIONS}


@dataclass(frozen=True, slots=True)
class EncoderOptions:
    """How a model is run. Most options change only speed and memory; the last two change the vectors."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps; several devices, separated by commas, get one process each."""
    dtype: str = "auto"
    """auto, float32, bfloat16 or float16."""
    batch_size: int = 0
    """Pages per forward pass; 0 starts with a small batch and grows it while memory allows."""
    resolution: int = 0
    """Pixels on the long side of the image that the model sees; 0 means the checkpoint's own resolution.

    Models of the Qwen families get as many patches as that needs, unless max_patches limits them.
    """
    max_patches: int = 0
    """The most patch vectors that a page may have; 0 means the checkpoint's own limit."""

    @property
    def devices(self) -> list[str]:
        """The devices named, at least one."""
        return [name.strip() for name in self.device.split(",")]

    def on(self, device: str) -> Self:
        """The same options for a single device."""
        return replace(self, device=device)


def refuse_vision_options(
    options: EncoderOptions, reason: str, alternative: str = "", supported: Collection[str] = ()
) -> None:
    """Refuse a resolution or a number of patches that a model cannot be given.

    Args:
        options: What the user chose.
        reason: What the model sees, in words.
        alternative: What the user may do instead.
        supported: The names in VISION_OPTIONS that the model does support.

    Raises:
        SettingsError: An unsupported option is set.
    """
    refused = [
        f"--{name.replace('_', '-')}"
        for name in VISION_OPTIONS
        if getattr(options, name) and name not in supported
    ]
    if not refused:
        return
    flags = " and ".join(refused)
    hint = f"leave {flags} out"
    raise SettingsError(
        f"{reason}; {flags} cannot change that", f"{hint}, or {alternative}" if alternative else hint
    )


class PageEncoder(Protocol):
    """Turns pages and queries into vectors of one space: late-interaction and CLIP-like models."""

    @property
    def spec(self) -> ModelSpec:
        """What is known about the model."""
        ...

    def encode_pages(self, pages: Sequence[Page]) -> list[MultiVector]:
        """One multi-vector per page, in order; even an empty page gets at least one row."""
        ...

    def encode_queries(self, texts: Sequence[str]) -> list[MultiVector]:
        """One multi-vector per query, in order, without boxes."""
        ...


@runtime_checkable
class ImageQueryEncoder(PageEncoder, Protocol):
    """A page encoder that also takes images as queries."""

    def encode_query_images(self, images: Sequence[Image]) -> list[MultiVector]:
        """One multi-vector per image, in order, without boxes."""
        ...


@runtime_checkable
class AudioQueryEncoder(PageEncoder, Protocol):
    """A page encoder that also takes audio recordings as queries."""

    def encode_query_audio(self, paths: Sequence[Path]) -> list[MultiVector]:
        """One multi-vector per sound file, in order, without boxes."""
        ...


@runtime_checkable
class MixedEncoder(ImageQueryEncoder, Protocol):
    """A CLIP-like encoder: images and texts in one space, one vector each."""

    def encode(self, items: Sequence[Image | str]) -> NDArray[np.float32]:
        """(len(items), dim) in the order given, rows L2-normalised; a string is always taken as text."""
        ...

    def label(self, images: NDArray[np.float32], labels: Sequence[str]) -> NDArray[np.float32]:
        """(n, len(labels)) probability of each label for image vectors (n, dim) of this encoder."""
        ...


class TextEncoder(Protocol):
    """Turns texts into one dense vector each."""

    @property
    def spec(self) -> ModelSpec:
        """What is known about the model."""
        ...

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), dim), rows L2-normalised."""
        ...

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), dim), rows L2-normalised."""
        ...


@dataclass(frozen=True, slots=True)
class CheckpointCard:
    """A checkpoint on the Hugging Face hub that has a short name, with what to know before downloading it."""

    option: Literal["late", "image", "text"]
    """The command-line option that takes it, without the dashes."""
    model: str
    """Its hub id; an image model and a text model with a plus between them for a pair."""
    licence: str
    """Licence of the weights, or of the weights they were made from if that one is stricter."""
    dim: int
    vectors: int = 1
    """Vectors of a US Letter page at the checkpoint's own resolution; 0 if that is not known beforehand."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Family:
    """Everything that the registry needs to know about one model family.

    A family is one module in docrag/encode/models/ with such a declaration, and one line in the registry.
    It has built-in encoders, or reads checkpoints, or both.

    Raises:
        ValueError: The declaration contradicts itself.
    """

    library: str
    """The library that computes the vectors, as ModelSpec.library names it."""
    why: str
    """Why its models are read by this library, for people; the same for all families of one library."""
    pages: Mapping[str, Callable[[EncoderOptions], PageEncoder]] = field(default_factory=dict)
    """Built-in page encoders by name."""
    texts: Mapping[str, Callable[[EncoderOptions], TextEncoder]] = field(default_factory=dict)
    """Built-in text encoders by name."""
    opens: Callable[[Checkpoint, EncoderOptions], Any] | None = None
    """Makes an encoder of a checkpoint, without loading its weights; None if it reads no checkpoints."""
    reads: str = ""
    """What kind of checkpoint it reads, in a few words for people."""
    architectures: Collection[str] = ()
    """The classes that config.json of its checkpoints names under "architectures"."""
    model_types: Collection[str] = ()
    """The values of "model_type" in a config.json that names no class, as for SigLIP 2 on the hub."""
    saved_by: Collection[str] = ()
    """The classes of sentence-transformers that saved its checkpoints with a modules.json."""
    modules: Collection[str] = ()
    """Class names in modules.json that only occur in its checkpoints."""
    wrapped: bool = False
    """Whether sentence-transformers only wraps its models, so that a modules.json changes nothing."""
    checkpoints: Mapping[str, CheckpointCard] = field(default_factory=dict)
    """The best-known checkpoints by short name; every other checkpoint of the family works as well."""

    def __post_init__(self) -> None:
        recognised_by = (*self.architectures, *self.model_types, *self.saved_by, *self.modules)
        needs_opens = bool(recognised_by or self.checkpoints)
        if needs_opens and not (self.opens and self.reads):
            raise ValueError(
                f"a family of {self.library} declares checkpoints, so it must declare opens and reads"
            )
        if self.opens and not recognised_by:
            raise ValueError(f"nothing says which checkpoints a family of {self.library} reads")
        if not (self.opens or self.pages or self.texts):
            raise ValueError(f"a family of {self.library} declares no encoder")
