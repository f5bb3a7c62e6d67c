"""The page encoder; importing this module loads neither torch nor ImageBind."""

from __future__ import annotations

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

WEIGHTS = "DOCRAG_IMAGEBIND_WEIGHTS"
"""Environment variable with the path of the weights; they are never downloaded."""
DIM = 1024
SIDE = 224
NEEDS = ("imagebind", "einops", "ftfy", "iopath", "regex", "timm", "torchvision")
"""What is imported for images and texts; recordings need soundfile too."""
INSTALL = (
    "if a non-commercial licence (CC-BY-NC-SA-4.0) suits you: pip install --no-deps imagebind-unofficial "
    "&& pip install einops ftfy iopath regex soundfile timm torchvision"
)


class ImageBindEncoder(TwoTowerEncoder):
    """Images, texts and recordings in one space of 1024 dimensions, one vector each.

    Args:
        options: How it is run; it has one resolution, which no option changes.

    Raises:
        ModelUnavailable: The library or the weights are not there.
        SettingsError: The options ask for another resolution.
    """

    def __init__(self, options: EncoderOptions) -> None:
        refuse_vision_options(options, f"imagebind sees {SIDE} by {SIDE} pixels and nothing else")
        _require_library()
        weights = _find_weights()

        def load() -> ImageBindTowers:
            from imagebind_docrag.towers import ImageBindTowers

            return ImageBindTowers(weights, options, DIM)

        super().__init__(_spec(weights), load, options)

    def encode_query_audio(self, paths: Sequence[Path]) -> list[MultiVector]:
        """One row a recording, in order.

        Args:
            paths: Sound files that libsndfile reads: WAV, FLAC, OGG, MP3.

        Raises:
            QueryError: A file is not there, is no sound file, or is shorter than 25 ms.
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
    lacking = [name for name in NEEDS if find_spec(name) is None]
    if lacking:
        raise ModelUnavailable(f"imagebind needs {', '.join(lacking)}, not installed here", INSTALL)


def _find_weights() -> Path:
    given = os.environ.get(WEIGHTS)
    if not given:
        raise ModelUnavailable(
            f"imagebind has no weights: {WEIGHTS} is not set",
            f"download imagebind_huge.pth as ImageBind's README says, then {WEIGHTS}=PATH",
        )
    weights = Path(given).expanduser()
    if not weights.is_file():
        raise ModelUnavailable(
            f"imagebind has no weights at {weights}", f"set {WEIGHTS} to the path of imagebind_huge.pth"
        )
    return weights
