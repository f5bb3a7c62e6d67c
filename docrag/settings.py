"""Settings: flag, then DOCRAG_* variable, then docrag.toml in the working directory, then default."""

from __future__ import annotations

from typing import Literal

from pydantic import AnyHttpUrl, Field, SecretStr, TypeAdapter, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from docrag.errors import SettingsError
from docrag.types import CaptionSource, Datatype, KeepPatches, Pooling

_URL: TypeAdapter[AnyHttpUrl] = TypeAdapter(AnyHttpUrl)
_NO_BASE_URL = "not http(s)://host:port/path without user, query and fragment"


class Settings(BaseSettings):
    """Everything that a user can set once for all commands."""

    model_config = SettingsConfigDict(env_prefix="DOCRAG_", toml_file="docrag.toml", extra="forbid")

    index: str = "./docrag-index"
    """The directory of the index, or a collection on a Qdrant server: http://localhost:6333/reports."""
    api_key: SecretStr | None = None
    """Of the Qdrant server."""
    grpc_port: int | None = Field(default=None, ge=1, le=65535)
    """Of the Qdrant server; by default 6334 where the address has port 6333."""
    api_key_in_clear: bool = False
    """Whether the key may go over http to another machine, where whoever stands between can read it."""
    ca_file: str | None = None
    """Certificates (PEM) to trust when the Qdrant server is reached by https; else those everybody trusts."""
    files: str | None = None
    """Directory for what a server does not keep (manifest, page images); else the user's data directory."""
    shards: int | None = Field(default=None, ge=1, le=10_000)
    """Parts of a new collection on a server; else as many as the cluster has machines."""
    replicas: int | None = Field(default=None, ge=1, le=1000)
    """Copies of each part; else as the server is set up."""
    write_consistency: int | None = Field(default=None, ge=1, le=1000)
    """Copies that must have taken a write before it counts; else as the server is set up."""
    tenant: str | None = Field(default=None, pattern=r"^metadata\.[\w-]+$")
    """A field, such as metadata.customer, that every search will filter by; a new collection on a server is
    laid out by its values."""
    late: str | None = None
    """The late-interaction encoder; else the one the index was built with, minilm for a new one."""
    image: str | None = None
    """The single-vector image encoder; none by default."""
    text: str | None = None
    """The encoder of captions; chosen like the late one."""
    device: str = "auto"
    """Where models compute: auto, cpu, cuda, cuda:1, mps; or several with commas, a process each."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision; auto takes bfloat16 where the hardware multiplies it natively."""
    batch_size: int | Literal["auto"] = "auto"
    """Pages in one pass through a model; auto grows while a GPU's memory lasts."""
    resolution: int | None = Field(default=None, ge=16, le=8192)
    """Pixels on the long side of the image that the model sees; by default the checkpoint's own."""
    max_patches: int | None = Field(default=None, ge=1, le=8192)
    """Patch vectors that a page may have; by default the checkpoint's own."""
    keep_patches: KeepPatches | None = None
    """Whether patches on blank paper are stored too; else as the index was built, all for a new one."""
    datatype: Datatype | None = None
    """How the numbers of patches are stored; else as the index was built, float16 for a new one."""
    pooling: Pooling | None = None
    """What the first stage of a search compares: means of rows, of columns too, or of patches that are alike;
    chosen like the datatype, rows for a new index."""
    caption: CaptionSource = "text"
    """Where captions come from: only the title; title, headings and figure captions of the text layer; or
    these and a vision model."""
    caption_url: str | None = None
    """Base address of an OpenAI-compatible endpoint, such as http://127.0.0.1:11434/v1."""
    caption_model: str | None = None
    """Name of the vision model there."""
    caption_key: SecretStr | None = None
    """Key of the endpoint; by default OPENAI_API_KEY."""
    caption_max_tokens: int = Field(default=400, ge=16, le=4096)
    """Tokens that the caption of a page may cost."""
    caption_concurrency: int = Field(default=4, ge=1, le=64)
    """Captions asked for at once."""
    language: str | None = None
    """Language of stop words and stems for the text mode; english for a new index."""
    workers: int = Field(default=0, ge=0, le=256)
    """Processes that read files; 0 chooses by the number of cores."""
    page_timeout: float = Field(default=30.0, gt=0)
    """Seconds a page may take to render."""
    ocr: bool = True
    """Whether pages without a text layer are read from their image."""
    render_side: int = Field(default=1280, ge=256, le=8192)
    """Pixels on the long side of the page images that are kept."""
    image_base_url: str | None = None
    """Where page images are served, for the image_url that the Qdrant dashboard shows; else as the index
    says, http://127.0.0.1:8000 for a new one."""

    @field_validator("batch_size", mode="before")
    @classmethod
    def _batch_size(cls, given: object) -> object:
        size = str(given)
        if size != "auto" and not (size.isascii() and size.isdigit() and 1 <= int(size) <= 4096):
            raise ValueError("between 1 and 4096, or auto")
        return size if size == "auto" else int(size)

    @field_validator("image_base_url")
    @classmethod
    def _image_base_url(cls, given: str | None) -> str | None:
        if given is None:
            return None
        try:
            url = _URL.validate_python(given)  # as browsers read it
        except ValidationError:
            raise ValueError(_NO_BASE_URL) from None
        if url.username or url.password or url.query or url.fragment:
            raise ValueError(_NO_BASE_URL)
        return str(url).rstrip("/")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags first, the file last."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load_settings(**flags: object) -> Settings:
    """The settings in force; flags that are None were not given.

    Raises:
        SettingsError: A value cannot be used, or docrag.toml is not valid TOML.
    """
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise SettingsError(
            f"setting {name}: {first['msg'].removeprefix('Value error, ')}",
            f"see --{name.replace('_', '-')}, DOCRAG_{name.upper()}, docrag.toml",
        ) from None
    except ValueError as error:  # tomllib's decode error
        raise SettingsError(f"docrag.toml: {error}", "mend or remove docrag.toml") from None
