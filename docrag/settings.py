"""Settings.

A value comes from the first of these that gives one: a flag, a DOCRAG_* variable, docrag.toml in the working
directory, the default.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from docrag.errors import SettingsError
from docrag.types import CaptionSource, Datatype, Dtype, KeepPatches, Pooling

_NO_BASE_URL = "must be http(s)://host:port/path, without user, query and fragment"
_MAX_BATCH_SIZE = 4096
RUN_OPTIONS = ("device", "dtype", "batch_size", "resolution", "max_patches")
"""The settings that say how models are run, whichever they are."""
SERVER_OPTIONS = ("shards", "replicas", "write_consistency", "tenant")
"""The settings that only a collection on a server has; None unless somebody gives them."""
INDEX_OPTIONS = ("late", "image", "text", "language", "keep_patches", "pooling", "datatype", *SERVER_OPTIONS)
"""The settings that an existing index may contradict; None unless somebody gives them."""


class Settings(BaseSettings):
    """Everything that a user can set once for all commands.

    Each field can be given as a variable (`DOCRAG_BATCH_SIZE`), in docrag.toml (`batch_size`), and in most
    cases as a flag (`--batch-size`).
    """

    model_config = SettingsConfigDict(env_prefix="DOCRAG_", toml_file="docrag.toml", extra="forbid")

    index: str = "./docrag-index"
    """The index: a directory, or a collection on a Qdrant server such as http://localhost:6333/reports.
    Default: ./docrag-index."""
    api_key: SecretStr | None = None
    """API key of the Qdrant server. Default: none."""
    grpc_port: int | None = Field(default=None, ge=1, le=65535)
    """gRPC port of the Qdrant server, 1 to 65535. Default: 6334 if the URL has port 6333, otherwise gRPC is
    not used."""
    api_key_in_clear: bool = False
    """Whether the API key may be sent over plain http to another machine, where anyone on the way can read
    it. Default: false."""
    ca_file: str | None = None
    """File of certificates (PEM) to trust when the Qdrant server is reached over https. Default: the
    file that SSL_CERT_FILE names, or the usual authorities."""
    server_timeout: float = Field(default=30.0, ge=1, le=3600)
    """Seconds for which a search, or another request that changes nothing, waits for a Qdrant server, with
    all repetitions, 1 to 3600. Default: 30."""
    server_write_timeout: float = Field(default=300.0, ge=1, le=86_400)
    """Seconds for which an ingest, or another change of an index, waits for a Qdrant server that does not
    answer before it gives up, 1 to 86400. Default: 300."""
    in_process: bool = False
    """Whether this process opens the index in a directory itself, so that no other process can use it
    meanwhile. For places where no process can be started. Default: false."""
    engine_idle: float = Field(default=600.0, ge=0, le=604_800)
    """Seconds that the process which holds a directory stays after its last user has left, 0 to 604800.
    Default: 600."""
    shared_encoder: bool = True
    """Whether queries on an index in a directory are encoded in the process that holds it, so that all its
    users share one copy of the models. Default: true."""
    files: str | None = None
    """Directory for what a Qdrant server does not keep: the manifest, page images, captions. Default: docrag
    in the user's data directory ($XDG_DATA_HOME or ~/.local/share)."""
    shards: int | None = Field(default=None, ge=1, le=10_000)
    """Number of shards of a new collection on a server, 1 to 10,000. Default: one."""
    replicas: int | None = Field(default=None, ge=1, le=1000)
    """Number of copies of each shard, 1 to 1000. Default: as the server is configured."""
    write_consistency: int | None = Field(default=None, ge=1, le=1000)
    """Number of copies that must confirm a write before it counts, 1 to 1000. Default: as the server is
    configured."""
    tenant: str | None = Field(default=None, pattern=r"^metadata\.[\w-]+$")
    """A metadata field of text, such as metadata.file_name, that every search will filter by. A new
    collection on a server stores the pages of each value together. Default: none."""
    late: str | None = None
    """The late-interaction encoder. Default: the one that the index was built with, minilm for a new
    index."""
    image: str | None = None
    """The single-vector image encoder. Default: the one that the index was built with, none for a new
    index."""
    text: str | None = None
    """The encoder of captions. Default: the one that the index was built with, minilm for a new index."""
    device: str = "auto"
    """Where models run: auto, cpu, cuda, cuda:1 or mps. Several, separated by commas, get a process each.
    Default: auto, which takes a GPU if there is one."""
    dtype: Dtype = "auto"
    """Precision of the models: auto, float32, bfloat16 or float16. Default: auto, which takes bfloat16 where
    the hardware supports it natively."""
    batch_size: int | Literal["auto"] = "auto"
    """Pages per pass through a model: 1 to 4096, or auto. Default: auto, which starts small on a GPU and
    grows while memory lasts."""
    resolution: int | None = Field(default=None, ge=16, le=8192)
    """Pixels on the long side of the image that the model sees, 16 to 8192. Default: the model's own."""
    max_patches: int | None = Field(default=None, ge=1, le=8192)
    """Largest number of patch vectors per page, 1 to 8192. Default: the model's own."""
    keep_patches: KeepPatches | None = None
    """Which patches are stored: all, or inked to leave out those on blank paper. Default: as the index was
    built, all for a new index."""
    datatype: Datatype | None = None
    """How the numbers of patches are stored: float32, float16, turbo8 or turbo4 (4, 2, 1 and half a byte
    each). Default: as the index was built, float16 for a new index."""
    pooling: Pooling | None = None
    """What the first stage of a search compares: rows (means of rows of patches), rows+columns, or tokens
    (means of similar patches). Default: as the index was built, rows for a new index."""
    caption: CaptionSource = "text"
    """Where captions come from: none (the title only), text (title, headings and figure captions of the text
    layer), or vision (these, and a description by a vision model). Default: text."""
    caption_url: str | None = None
    """Base URL of the OpenAI-compatible endpoint of the vision model, such as http://127.0.0.1:11434/v1.
    Required for caption = vision. Default: none."""
    caption_model: str | None = None
    """Name of the vision model at that endpoint. Required for caption = vision. Default: none."""
    caption_key: SecretStr | None = None
    """API key of that endpoint. Default: the variable OPENAI_API_KEY."""
    caption_max_tokens: int = Field(default=400, ge=16, le=4096)
    """Largest number of tokens that the vision model may write per page, 16 to 4096. Default: 400."""
    caption_concurrency: int = Field(default=4, ge=1, le=64)
    """Number of captions requested at the same time, 1 to 64. Default: 4."""
    language: str | None = None
    """Language of the stop words and stems of the text mode. Default: as the index was built, english for a
    new index."""
    workers: int = Field(default=0, ge=0, le=256)
    """Number of processes that read files, 0 to 256. Default: 0, which chooses by the number of CPU
    cores."""
    page_timeout: float = Field(default=30.0, gt=0)
    """Seconds that rendering a page may take, more than 0. Default: 30."""
    ocr: bool = True
    """Whether pages without a text layer are read by OCR. Default: true."""
    render_side: int = Field(default=1280, ge=256, le=8192)
    """Pixels on the long side of the page images that are stored, 256 to 8192. Default: 1280; more where the
    model sees larger images."""
    image_base_url: str | None = None
    """URL under which page images are served, so that the Qdrant dashboard can show them. Default: as the
    index was built, http://127.0.0.1:8000 for a new index."""

    @field_validator("batch_size", mode="before")
    @classmethod
    def _parse_batch_size(cls, value: object) -> object:
        text = str(value)
        if text == "auto":
            return text
        if text.isascii() and text.isdigit() and 1 <= int(text) <= _MAX_BATCH_SIZE:
            return int(text)
        raise ValueError(f"must be between 1 and {_MAX_BATCH_SIZE}, or auto")

    @field_validator("image_base_url")
    @classmethod
    def _parse_image_base_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        from pydantic import AnyHttpUrl  # slow to import, and seldom needed

        try:
            url = AnyHttpUrl(value)  # follows the URL standard, as browsers do
        except ValidationError:
            raise ValueError(_NO_BASE_URL) from None
        if url.username or url.password or url.query or url.fragment:
            raise ValueError(_NO_BASE_URL)
        return str(url).rstrip("/")

    def run_options(self) -> dict[str, Any]:
        """The settings that say how models are run, as JSON."""
        return self.model_dump(include=set(RUN_OPTIONS))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Where values come from: flags first, then the environment, then docrag.toml."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load_settings(**flags: object) -> Settings:
    """The settings in force.

    Args:
        flags: Values by name, which come before all other sources; those that are None count as not given.

    Raises:
        SettingsError: A value cannot be used, or docrag.toml is not valid TOML.
    """
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        raise _settings_error(error, flags) from None
    except ValueError as error:  # tomllib cannot decode the file
        raise SettingsError(
            f"docrag.toml is not valid TOML: {error}", "correct or remove docrag.toml"
        ) from None


def _settings_error(error: ValidationError, flags: Mapping[str, object]) -> SettingsError:
    """The first thing that is wrong, in words that name where the value comes from."""
    first = error.errors()[0]
    name = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        return SettingsError(f"there is no setting {name}", f"correct or remove {name} in docrag.toml")
    if flags.get(name) is not None:
        hint = f"correct --{name.replace('_', '-')}"
    else:
        hint = f"correct DOCRAG_{name.upper()}, or {name} in docrag.toml"
    return SettingsError(f"setting {name}: {first['msg'].removeprefix('Value error, ')}", hint)


def with_overrides(
    settings: Settings | None, overrides: Mapping[str, str | os.PathLike[str] | None]
) -> Settings:
    """Settings in which the arguments of a call replace the settings of the same name.

    Args:
        settings: The settings of the caller; None loads those in force.
        overrides: Values by the name of the setting. A value that is None overrides nothing.

    Raises:
        SettingsError: The settings in force cannot be used.
    """
    values = {name: str(value) for name, value in overrides.items() if value is not None}
    return settings.model_copy(update=values) if settings else load_settings(**values)
