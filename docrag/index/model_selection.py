"""Which models an index uses: those that were asked for, else those that it was built with."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from docrag.caption import NoCaptioner, TextLayerCaptioner
from docrag.caption.cache import FILE
from docrag.encode.base import EncoderOptions
from docrag.encode.encoders import Encoders
from docrag.encode.models.bm25 import Bm25Encoder
from docrag.encode.registry import is_name_of, name_of, page_encoder, text_encoder
from docrag.encode.remote import RemoteQueryEncoder
from docrag.errors import ModelUnavailable, SettingsError, UnknownModel
from docrag.store.layout import Fingerprint, require_pages
from docrag.store.local.remote import RemoteStore

if TYPE_CHECKING:
    from docrag.caption import Captioner
    from docrag.encode.base import PageEncoder
    from docrag.ingest.pipeline import Pipeline
    from docrag.read.jobs import ReadOptions
    from docrag.settings import Settings
    from docrag.store.base import Store
    from docrag.store.page_address import PageAddresses
    from docrag.types import Dtype, KeepPatches, Pooling

logger = logging.getLogger(__name__)

Encoder = TypeVar("Encoder")

DEFAULT_ENCODER = "minilm"
DEFAULT_LANGUAGE = "english"


class EncoderSettings(Protocol):
    """The settings that say which encoders are wanted, and how they are run."""

    late: str | None
    image: str | None
    text: str | None
    language: str | None
    keep_patches: KeepPatches | None
    pooling: Pooling | None
    device: str
    dtype: Dtype
    batch_size: int | Literal["auto"]
    resolution: int | None
    max_patches: int | None


@dataclass(slots=True, kw_only=True)
class RunOptions:
    """How the encoders of an index are run, without a wish for others: `EncoderSettings` of plain values.

    The engine's process knows no more, and need not wait for the library that reads settings.
    """

    device: str
    dtype: Dtype
    batch_size: int | Literal["auto"]
    resolution: int | None
    max_patches: int | None
    late: str | None = None
    image: str | None = None
    text: str | None = None
    language: str | None = None
    keep_patches: KeepPatches | None = None
    pooling: Pooling | None = None


def choose_encoders(settings: EncoderSettings, stored: Fingerprint | None) -> Encoders:
    """The encoders that were asked for, else those that the index was built with, else minilm.

    Resolution and patches go to the late-interaction encoder if it sees pages, else to the image encoder.

    Args:
        settings: What was asked for.
        stored: What the existing index was built with, if there is one.

    Raises:
        UnknownModel: No encoder has one of the names.
        ModelUnavailable: The package or the checkpoint of an encoder is missing.
        SettingsError: A resolution or a number of patches is asked for, and no encoder sees images.
        IndexMismatch: The index holds the texts of a vector store, not pages.
    """
    if stored:
        require_pages(stored)
    built: Mapping[str, Any] = stored.values if stored else {}
    plain = encoder_options(settings)
    seeing = seeing_options(settings)
    late = _open(page_encoder, "late", settings.late, built, seeing, DEFAULT_ENCODER)
    _require_kind(late, "late", "--late")
    late_sees = late.spec.needs == "image"
    image = image_encoder(settings, built, plain if late_sees else seeing)
    if seeing != plain and not late_sees and image is None:
        raise SettingsError(
            f"{late.spec.family} reads words, so no resolution or number of patches can be chosen",
            "leave out --resolution and --max-patches, or choose a --late or --image model that sees pages",
        )
    text = _open(text_encoder, "text", settings.text, built, plain, DEFAULT_ENCODER)
    language = settings.language or (built.get("bm25") or {}).get("language") or DEFAULT_LANGUAGE
    keep_patches = settings.keep_patches or built.get("keep_patches") or "all"
    pooling = settings.pooling or built.get("pooling") or "rows"
    logger.info(
        "encoders: late %s, image %s, text %s, BM25 %s",
        late.spec.model,
        image.spec.model if image else "none",
        text.spec.model,
        language,
    )
    return Encoders(late, text, Bm25Encoder(language), image, keep_patches if late_sees else "all", pooling)


def shared_encoders(settings: Settings, encoders: Encoders, store: Store) -> Encoders:
    """The same encoders, whose queries are encoded in the process that holds the index, if there is one.

    Args:
        settings: How models are run, and whether they are shared.
        encoders: The encoders of the index.
        store: Its points.
    """
    if not (settings.shared_encoder and isinstance(store, RemoteStore) and encoders.can_be_shared):
        return encoders
    models = {"fingerprint": encoders.fingerprint(), "options": settings.run_options()}
    return replace(encoders, remote=RemoteQueryEncoder(store.call, models))


def image_encoder(
    settings: EncoderSettings, built: Mapping[str, Any], options: EncoderOptions
) -> PageEncoder | None:
    """The image encoder that was asked for, else the one that an index was built with, else None.

    Args:
        settings: What was asked for.
        built: The fingerprint of the existing index; empty if there is none.
        options: How the encoder is run.
    """
    if not settings.image and not built.get("image"):
        return None
    encoder = _open(page_encoder, "image", settings.image, built, options, "")
    _require_kind(encoder, "single", "--image")
    return encoder


def make_captioner(settings: Settings, folder: Path) -> Captioner:
    """What gives pages their captions.

    Args:
        settings: Which captions, and the address of a vision model.
        folder: The directory of the index, where captions of a vision model are cached.

    Raises:
        SettingsError: A vision model is asked for without its address or name.
    """
    if settings.caption == "none":
        return NoCaptioner()
    if settings.caption == "text":
        return TextLayerCaptioner()
    if not settings.caption_url or not settings.caption_model:
        raise SettingsError(
            "captions by a vision model need an endpoint and the name of a model",
            "--caption-url http://127.0.0.1:11434/v1 --caption-model NAME, or caption_url in docrag.toml",
        )
    from docrag.caption.vision import VisionCaptioner  # imports httpx

    secret = settings.caption_key
    return VisionCaptioner(
        settings.caption_url,
        settings.caption_model,
        key=secret.get_secret_value() if secret else os.environ.get("OPENAI_API_KEY", ""),
        cache=folder / FILE,
        max_tokens=settings.caption_max_tokens,
        concurrency=settings.caption_concurrency,
    )


def make_pipeline(
    settings: Settings, encoders: Encoders, captioner: Captioner, addresses: PageAddresses
) -> Pipeline:
    """What an ingest does with pages once they are read.

    Args:
        settings: How models are run.
        encoders: The encoders of the index.
        captioner: Gives pages their captions.
        addresses: Where page images are served.
    """
    from docrag.ingest.pipeline import AdaptiveBatchSize, Pipeline  # imports what reads files

    batch_size = AdaptiveBatchSize.of(encoders, encoder_options(settings))
    return Pipeline(encoders, captioner, addresses, batch_size)


def encoder_options(settings: EncoderSettings) -> EncoderOptions:
    """How models are run: everything that does not change their vectors."""
    batch_size = 0 if settings.batch_size == "auto" else settings.batch_size
    return EncoderOptions(device=settings.device, dtype=settings.dtype, batch_size=batch_size)


def seeing_options(settings: EncoderSettings) -> EncoderOptions:
    """How models that see are run, including resolution and patches, which change their vectors."""
    return replace(
        encoder_options(settings),
        resolution=settings.resolution or 0,
        max_patches=settings.max_patches or 0,
    )


def make_read_options(settings: Settings, encoders_side: int, passwords: Sequence[str]) -> ReadOptions:
    """How files are read.

    Args:
        settings: What was asked for.
        encoders_side: Pixels on the long side of the page images that the encoders want; page images are at
            least this large.
        passwords: Tried on encrypted documents.
    """
    from docrag.read.jobs import ReadOptions  # imports what reads files

    return ReadOptions(
        image_side=max(settings.render_side, encoders_side),
        page_timeout=settings.page_timeout,
        ocr=settings.ocr,
        passwords=tuple(passwords),
    )


def _require_kind(encoder: PageEncoder, kind: str, option: str) -> None:
    """Refuse an encoder of several vectors a page where one is stored, and the reverse."""
    if encoder.spec.kind != kind:
        right = "--late" if encoder.spec.kind == "late" else "--image"
        raise SettingsError(
            f"{encoder.spec.family} cannot be used for {option}", f"give it as {right} instead"
        )


def _open(
    make: Callable[[str, EncoderOptions], Encoder],
    kind: str,
    requested: str | None,
    built: Mapping[str, Any],
    options: EncoderOptions,
    default: str,
) -> Encoder:
    """The encoder that was asked for, else the one of the index, else the default.

    Raises:
        ModelUnavailable: The encoder of the index is no longer where it was.
    """
    name, options = _resolve(requested, built.get(kind), options, default)
    try:
        return make(name, options)
    except (UnknownModel, ModelUnavailable) as error:
        if requested or not built.get(kind):
            raise
        hint = f"{error.hint}; if the weights have moved: DOCRAG_{kind.upper()}=PATH"
        raise ModelUnavailable(f"the index was built with {name}: {error.message}", hint) from error


def _resolve(
    requested: str | None, built: Mapping[str, Any] | None, options: EncoderOptions, default: str
) -> tuple[str, EncoderOptions]:
    """The name of an encoder and its options: as asked, else as the index was built, else the default."""
    if built is None or (requested and not is_name_of(requested, built)):
        return requested or default, options
    return name_of(built), replace(
        options,
        resolution=options.resolution or built.get("resolution", 0),
        max_patches=options.max_patches or built.get("max_patches", 0),
    )
