"""The options that several commands share: their names, their help, and which of them belong together.

An option is an annotated type. A group of options is a dataclass with a field for each option, named like
the setting that it sets. A command takes a group as one parameter, and `docrag.cli.command` turns it into
options.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from docrag.cli.console import errors, read_settings
from docrag.errors import SettingsError
from docrag.types import CaptionSource, Datatype, KeepPatches, Pooling

if TYPE_CHECKING:
    from docrag.settings import Settings

MODELS, CAPTIONS, STORAGE, SPEED = "Models", "Captions", "Storage", "Speed"
"""Titles under which help lists the options of a group."""

IndexOption = Annotated[
    str | None,
    typer.Option(
        "--index",
        metavar="URI",
        help="Directory of the index, or http://host:6333/collection on a Qdrant server "
        "(default: DOCRAG_INDEX, or ./docrag-index).",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

LateOption = Annotated[
    str | None,
    typer.Option(
        "--late",
        help="Late-interaction encoder (default: minilm); see docrag models.",
        rich_help_panel=MODELS,
    ),
]
ImageOption = Annotated[
    str | None,
    typer.Option(
        "--image",
        help="Single-vector image encoder, such as clip-vit-b-32 (default: no encoder). "
        "With docrag migrate, none removes it from the index.",
        rich_help_panel=MODELS,
    ),
]
TextOption = Annotated[
    str | None,
    typer.Option("--text", help="Text encoder of the captions (default: minilm).", rich_help_panel=MODELS),
]
ResolutionOption = Annotated[
    int | None,
    typer.Option(
        "--resolution",
        help="Pixels on the long side of the image that the model sees (default: the model's own).",
        rich_help_panel=MODELS,
    ),
]
MaxPatchesOption = Annotated[
    int | None,
    typer.Option(
        "--max-patches",
        help="Most patch vectors per page (default: the model's own).",
        rich_help_panel=MODELS,
    ),
]
CaptionOption = Annotated[
    CaptionSource | None,
    typer.Option(
        "--caption",
        help="Where captions come from: none (the title only), text (title, headings and figure captions), "
        "or vision (these and a vision model). Default: text.",
        rich_help_panel=CAPTIONS,
    ),
]
CaptionUrlOption = Annotated[
    str | None,
    typer.Option(
        "--caption-url",
        help="With --caption vision: the OpenAI-compatible endpoint of the vision model.",
        rich_help_panel=CAPTIONS,
    ),
]
CaptionModelOption = Annotated[
    str | None,
    typer.Option(
        "--caption-model",
        help="With --caption vision: the name of the model at that endpoint.",
        rich_help_panel=CAPTIONS,
    ),
]
KeepPatchesOption = Annotated[
    KeepPatches | None,
    typer.Option(
        "--keep-patches",
        help="Which patches are stored: all, or inked to leave out those on blank paper (default: all).",
        rich_help_panel=STORAGE,
    ),
]
DatatypeOption = Annotated[
    Datatype | None,
    typer.Option(
        "--datatype",
        help="How patches are stored; turbo8 takes half the space of float16 (default: float16).",
        rich_help_panel=STORAGE,
    ),
]
PoolingOption = Annotated[
    Pooling | None,
    typer.Option(
        "--pooling",
        help="What the first stage of a search compares: means of rows, of rows and columns, or of similar "
        "patches (default: rows).",
        rich_help_panel=STORAGE,
    ),
]
ImageBaseUrlOption = Annotated[
    str | None,
    typer.Option(
        "--image-base-url",
        help="URL under which page images are served, for the Qdrant dashboard "
        "(default: unchanged; http://127.0.0.1:8000 for a new index).",
        rich_help_panel=STORAGE,
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="Where models run: auto, cpu, cuda, cuda:1 or mps; several, as in cuda:0,cuda:1, get a process "
        "each (default: auto).",
        rich_help_panel=SPEED,
    ),
]
DtypeOption = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        help="Precision: auto, float32, bfloat16 or float16 (default: auto).",
        rich_help_panel=SPEED,
    ),
]
BatchSizeOption = Annotated[
    str | None,
    typer.Option(
        "--batch-size",
        help="Pages per pass through a model: 1 to 4096, or auto (default: auto).",
        rich_help_panel=SPEED,
    ),
]
PageTimeoutOption = Annotated[
    float | None,
    typer.Option(
        "--page-timeout", help="Seconds that rendering a page may take (default: 30).", rich_help_panel=SPEED
    ),
]
PasswordOption = Annotated[
    list[str] | None,
    typer.Option("--password", help="Password of encrypted files; may be repeated to try several."),
]


@dataclass(frozen=True, kw_only=True)
class OptionGroup:
    """Options that belong together; subclasses have a field for each, named like the setting it sets."""

    def settings(self, **flags: object) -> Settings:
        """The settings in force, with these options and other flags.

        Raises:
            SettingsError: A value cannot be used.
        """
        return read_settings(**flags, **asdict(self))

    def flags(self) -> dict[str, object]:
        """The value of each option by its flag, such as --batch-size; None where it was not given."""
        return {f"--{name.replace('_', '-')}": value for name, value in asdict(self).items()}


@dataclass(frozen=True, kw_only=True)
class DeviceOptions(OptionGroup):
    """How models run: in every command that uses one."""

    device: DeviceOption = None
    dtype: DtypeOption = None


@dataclass(frozen=True, kw_only=True)
class VectorOptions(OptionGroup):
    """Which vectors an index holds and how they are stored: in estimate, ingest and migrate."""

    late: LateOption = None
    image: ImageOption = None
    text: TextOption = None
    max_patches: MaxPatchesOption = None
    keep_patches: KeepPatchesOption = None
    datatype: DatatypeOption = None
    pooling: PoolingOption = None

    def note_if_not_inked(self, stored: object) -> None:
        """Say on stderr that --keep-patches inked leaves nothing out, where the model embeds words.

        Args:
            stored: Which patches the index keeps, as its fingerprint says.
        """
        if self.keep_patches == "inked" and stored != "inked":
            errors.print("note: the model embeds words, so --keep-patches inked leaves nothing out")


@dataclass(frozen=True, kw_only=True)
class BuildOptions(DeviceOptions, VectorOptions):
    """How pages are read, captioned and embedded: in ingest and migrate."""

    resolution: ResolutionOption = None
    caption: CaptionOption = None
    caption_url: CaptionUrlOption = None
    caption_model: CaptionModelOption = None
    batch_size: BatchSizeOption = None
    page_timeout: PageTimeoutOption = None

    def settings(self, **flags: object) -> Settings:
        """The settings in force, with these options and other flags.

        Raises:
            SettingsError: A value cannot be used, or a vision model is given that no caption comes from.
        """
        settings = super().settings(**flags)
        if settings.caption != "vision":
            refuse(
                {"--caption-url": self.caption_url, "--caption-model": self.caption_model},
                "without --caption vision",
                "add --caption vision",
            )
        return settings


def given(flags: Mapping[str, object]) -> list[str]:
    """The flags that were given: their value is not None, False or an empty list."""
    return [flag for flag, value in flags.items() if value is not None and value is not False and value != []]


def refuse(flags: Mapping[str, object], reason: str, hint: str) -> None:
    """Refuse options that a command takes but could not honour, so that none is dropped in silence.

    Args:
        flags: The value of each option by its flag; those that were not given are left out.
        reason: When they have no effect, such as "without --http".
        hint: What the user can do instead of leaving them out.

    Raises:
        SettingsError: One of them was given.
    """
    if names := given(flags):
        has, them = ("has", "it") if len(names) == 1 else ("have", "them")
        raise SettingsError(f"{join(names)} {has} no effect {reason}", f"{hint}, or leave {them} out")


def join(names: list[str]) -> str:
    """Names as a sentence lists them.

    >>> join(["--host"]), join(["--host", "--port"]), join(["a", "b", "c"])
    ('--host', '--host and --port', 'a, b and c')
    """
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
