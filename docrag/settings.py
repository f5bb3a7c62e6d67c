"""Settings: flag, then DOCRAG_* variable, then docrag.toml in the working directory, then default."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from docrag.errors import SettingsError


class Settings(BaseSettings):
    """Everything that a user can set once for all commands."""

    model_config = SettingsConfigDict(env_prefix="DOCRAG_", toml_file="docrag.toml", extra="forbid")

    index: str = "./docrag-index"
    """The directory of the index."""
    late: str | None = None
    """The late-interaction encoder; else the one the index was built with, minilm for a new one."""
    image: str | None = None
    """The single-vector image encoder; none by default."""
    text: str | None = None
    """The encoder of captions; chosen like the late one."""
    caption: Literal["none", "text"] = "text"
    """Where captions come from: only the title, or title, headings and figure captions of the text layer."""
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
    image_base_url: str = "http://127.0.0.1:8000"
    """Where page images are served, for the image_url that the Qdrant dashboard shows."""

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
        name = ".".join(str(part) for part in first["loc"])
        raise SettingsError(
            f"setting {name}: {first['msg']}", f"see --{name}, DOCRAG_{name.upper()}, docrag.toml"
        ) from None
    except ValueError as error:  # tomllib's decode error
        raise SettingsError(f"docrag.toml: {error}", "mend or remove docrag.toml") from None
