"""The models of an index: as they are asked for, else as it was built."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from docrag.errors import ModelUnavailable, SettingsError, UnknownModel
from docrag.settings import Settings

if TYPE_CHECKING:
    from docrag.caption import Captioner
    from docrag.encode.base import PageEncoder
    from docrag.encode.encoders import Encoders
    from docrag.encode.options import EncoderOptions
    from docrag.ingest.pipeline import Pipeline
    from docrag.read.jobs import ReadOptions
    from docrag.store.layout import Fingerprint

Encoder = TypeVar("Encoder")

DEFAULT_ENCODER = "minilm"
DEFAULT_LANGUAGE = "english"


def choose_encoders(settings: Settings, stored: Fingerprint | None) -> Encoders:
    """The encoders that were asked for, else those that the index was built with, else minilm.

    Resolution and patches go to the late-interaction encoder where it sees pages, else to the image encoder.

    Raises:
        UnknownModel: No encoder goes by one of the names.
        ModelUnavailable: The package or the checkpoint of one is not there.
        SettingsError: Resolution or patches are asked for, and no encoder can be told.
        IndexMismatch: There is no index of pages but the texts of a vector store.
    """
    from docrag.encode.encoders import Encoders
    from docrag.encode.models.bm25 import Bm25Encoder
    from docrag.encode.registry import page_encoder, text_encoder
    from docrag.store.layout import require_pages

    if stored:
        require_pages(stored)
    built: Mapping[str, Any] = stored.values if stored else {}
    plain = encoder_options(settings)
    asked = replace(plain, resolution=settings.resolution or 0, max_patches=settings.max_patches or 0)
    late = _open(page_encoder, "late", settings.late, built, asked, DEFAULT_ENCODER)
    _require_kind(late, "late", "--late")
    sees = late.spec.needs == "image"
    image = image_encoder(settings, built, plain if sees else asked)
    if asked != plain and not sees and image is None:
        raise SettingsError(
            f"{late.spec.family} sees words, no image whose resolution or patches could be chosen",
            "leave out --resolution and --max-patches, or choose a --late or --image model that sees",
        )
    text = _open(text_encoder, "text", settings.text, built, plain, DEFAULT_ENCODER)
    language = settings.language or (built.get("bm25") or {}).get("language") or DEFAULT_LANGUAGE
    keep = settings.keep_patches or built.get("keep_patches") or "all"
    pooling = settings.pooling or built.get("pooling") or "rows"
    return Encoders(late, text, Bm25Encoder(language), image, keep if sees else "all", pooling)


def image_encoder(
    settings: Settings, built: Mapping[str, Any], options: EncoderOptions
) -> PageEncoder | None:
    """The image encoder that was asked for, else the one that an index was built with, else none."""
    from docrag.encode.registry import page_encoder

    if not settings.image and not built.get("image"):
        return None
    encoder = _open(page_encoder, "image", settings.image, built, options, "")
    _require_kind(encoder, "single", "--image")
    return encoder


def _require_kind(encoder: PageEncoder, kind: str, option: str) -> None:
    """Refuse an encoder of several vectors a page where one is kept, and the reverse."""
    if encoder.spec.kind != kind:
        right = "--late" if encoder.spec.kind == "late" else "--image"
        raise SettingsError(f"{encoder.spec.family} is no model for {option}", f"give it as {right}")


def make_captioner(settings: Settings, home: Path) -> Captioner:
    """What gives pages their captions; those of a vision model are kept beside the index.

    Raises:
        SettingsError: A vision model is asked for, and not said where it is.
    """
    from docrag.caption import NoCaptioner, TextLayerCaptioner

    if settings.caption == "none":
        return NoCaptioner()
    if settings.caption == "text":
        return TextLayerCaptioner()
    from docrag.caption.cache import FILE as CAPTIONS_FILE
    from docrag.caption.vision import VisionCaptioner

    if not settings.caption_url or not settings.caption_model:
        raise SettingsError(
            "captions by a vision model need an endpoint and a model",
            "--caption-url http://127.0.0.1:11434/v1 --caption-model NAME, or caption_url in docrag.toml",
        )
    told = settings.caption_key
    key = told.get_secret_value() if told else os.environ.get("OPENAI_API_KEY", "")
    return VisionCaptioner(
        settings.caption_url,
        settings.caption_model,
        key=key,
        cache=home / CAPTIONS_FILE,
        max_tokens=settings.caption_max_tokens,
        concurrency=settings.caption_concurrency,
    )


def make_pipeline(
    settings: Settings, encoders: Encoders, captioner: Captioner, image_base_url: str
) -> Pipeline:
    """What an ingest does with pages once they are read; page images are served at that address."""
    from docrag.ingest.batch_size import AdaptiveBatchSize
    from docrag.ingest.pipeline import Pipeline

    return Pipeline(
        encoders, captioner, image_base_url, AdaptiveBatchSize.of(encoders, encoder_options(settings))
    )


def encoder_options(settings: Settings) -> EncoderOptions:
    """How models are run, without what changes their vectors."""
    from docrag.encode.options import EncoderOptions

    size = 0 if settings.batch_size == "auto" else settings.batch_size
    return EncoderOptions(device=settings.device, dtype=settings.dtype, batch_size=size)


def make_read_options(settings: Settings, encoders_side: int, passwords: Sequence[str]) -> ReadOptions:
    """How files are read; the encoders may want larger page images than are set."""
    from docrag.read.jobs import ReadOptions

    return ReadOptions(
        image_side=max(settings.render_side, encoders_side),
        page_timeout=settings.page_timeout,
        ocr=settings.ocr,
        passwords=tuple(passwords),
    )


def _open(
    make: Callable[[str, EncoderOptions], Encoder],
    kind: str,
    asked: str | None,
    built: Mapping[str, Any],
    options: EncoderOptions,
    default: str,
) -> Encoder:
    """The encoder that was asked for, else the one of the index, else the default.

    Raises:
        ModelUnavailable: The one of the index is not where it was.
    """
    name, options = _choice(asked, built.get(kind), options, default)
    try:
        return make(name, options)
    except (UnknownModel, ModelUnavailable) as error:
        if asked or not built.get(kind):
            raise
        hint = f"{error.hint}; if the weights lie elsewhere now: DOCRAG_{kind.upper()}=PATH"
        raise ModelUnavailable(f"the index was built with {name}: {error.message}", hint) from error


def _choice(
    asked: str | None, built: Mapping[str, Any] | None, options: EncoderOptions, default: str
) -> tuple[str, EncoderOptions]:
    """The name of an encoder and its options: as asked, else as the index was built, else the default."""
    from docrag.encode.registry import is_name_of, name_of

    if built is None or (asked and not is_name_of(asked, built)):
        return asked or default, options
    return name_of(built), replace(
        options,
        resolution=options.resolution or built.get("resolution", 0),
        max_patches=options.max_patches or built.get("max_patches", 0),
    )
