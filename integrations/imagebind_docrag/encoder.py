"""ImageBindEncoder; importing this module loads neither torch nor ImageBind."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, cast

from docrag.encode.base import EncoderOptions, ModelSpec, refuse_vision_options
from docrag.encode.checkpoints.digests import sha256_of
from docrag.encode.models.towers import TwoTowerEncoder
from docrag.encode.vectors.norms import normalised
from docrag.errors import ModelUnavailable
from docrag.types import MultiVector

if TYPE_CHECKING:
    from imagebind_docrag.towers import ImageBindTowers

logger = logging.getLogger(__name__)

WEIGHTS = "DOCRAG_IMAGEBIND_WEIGHTS"
"""The environment variable with the path of the weights, which are never downloaded."""
DIM = 1024
SIDE = 224
REQUIRED_PACKAGES = ("imagebind", "einops", "ftfy", "iopath", "regex", "timm", "torchvision")
"""The packages that images and texts need; recordings need soundfile too."""
INSTALL = (
    "if a non-commercial licence (CC-BY-NC-SA-4.0) suits you: pip install --no-deps imagebind-unofficial "
    "&& pip install einops ftfy iopath regex soundfile timm torchvision"
)


class ImageBindEncoder(TwoTowerEncoder):
    """Embeds images, texts and recordings into one space of 1024 dimensions, with one vector each.

    Args:
        options: How the model is run. It has a single resolution, which no option can change.

    Raises:
        ModelUnavailable: The library is not installed, or the weights are missing.
        SettingsError: The options ask for another resolution.
    """

    def __init__(self, options: EncoderOptions) -> None:
        refuse_vision_options(options, f"imagebind always sees {SIDE} by {SIDE} pixels")
        _require_library()
        weights = _find_weights()

        def load() -> ImageBindTowers:
            from imagebind_docrag.towers import ImageBindTowers

            return ImageBindTowers(weights, options, DIM)

        super().__init__(_spec(weights), load, options)

    def encode_query_audio(self, paths: Sequence[Path]) -> list[MultiVector]:
        """Embed recordings, in order; each becomes one row.

        Args:
            paths: Sound files that libsndfile can read: WAV, FLAC, OGG, MP3.

        Raises:
            QueryError: A file does not exist, is not a sound file, or is shorter than 25 ms.
            ModelUnavailable: soundfile is not installed.
        """
        towers = cast("ImageBindTowers", self.towers)
        return [MultiVector(normalised(towers.encode_audio(path))[None]) for path in paths]


def _spec(weights: Path) -> ModelSpec:
    return ModelSpec(
        family="imagebind",
        model="imagebind",
        revision="",
        digest=sha256_of(weights),
        library="imagebind",
        dim=DIM,
        kind="single",
        needs="image",
        licence="CC-BY-NC-SA-4.0 (non-commercial)",
        recipe="middle square",
        image_side=SIDE,
    )


def _require_library() -> None:
    missing = [name for name in REQUIRED_PACKAGES if find_spec(name) is None]
    if missing:
        raise ModelUnavailable(
            f"imagebind needs packages that are not installed: {', '.join(missing)}", INSTALL
        )


def _find_weights() -> Path:
    path = os.environ.get(WEIGHTS)
    if not path:
        raise ModelUnavailable(
            f"imagebind has no weights: {WEIGHTS} is not set",
            f"download imagebind_huge.pth as described in ImageBind's README, then set {WEIGHTS} to its path",
        )
    weights = Path(path).expanduser()
    if not weights.is_file():
        raise ModelUnavailable(
            f"imagebind has no weights at {weights}", f"set {WEIGHTS} to the path of imagebind_huge.pth"
        )
    logger.debug("the weights of ImageBind are at %s", weights)
    return weights
