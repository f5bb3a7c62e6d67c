"""The model's inputs: the same numbers that ImageBind's own data.py makes from files, computed with numpy."""

from __future__ import annotations

import logging
import warnings
from fractions import Fraction
from math import gcd
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from docrag.errors import ModelUnavailable, QueryError

if TYPE_CHECKING:
    from PIL.Image import Image

logger = logging.getLogger(__name__)

Floats = NDArray[np.float32]

SIDE = 224
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
DEVIATION = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)

SAMPLE_RATE = 16000
"""Samples per second."""
CLIPS = 3
CLIP_SECONDS = 2
BINS = 128
FRAMES = 204
WINDOW = 400
"""Samples in a frame: 25 ms."""
HOP = 160
"""Samples from the start of a frame to the start of the next: 10 ms."""
AUDIO_MEAN = -4.268
AUDIO_DEVIATION = 9.138


def pixels_of(image: Image) -> Floats:
    """Scale an RGB image and crop its middle square: (3, 224, 224)."""
    from PIL import Image as pillow

    short = min(image.size)
    width, height = (int(SIDE * side / short) for side in image.size)
    left = round((width - SIDE) / 2)
    top = round((height - SIDE) / 2)
    resized = image.resize((width, height), pillow.Resampling.BICUBIC)
    square = resized.crop((left, top, left + SIDE, top + SIDE))
    scaled = np.asarray(square, np.float32) / 255
    return np.asarray(((scaled - MEAN) / DEVIATION).transpose(2, 0, 1), np.float32)


def clips_of(path: Path) -> Floats:
    """Take three clips of a recording, evenly spread: (3, 1, 128, 204), mel bins by frames.

    Raises:
        QueryError: The file does not exist, is not a sound file, or is shorter than 25 ms.
        ModelUnavailable: soundfile is not installed.
    """
    wave = read_sound(path)
    last_start = Fraction(max(len(wave) / SAMPLE_RATE - CLIP_SECONDS, 0))
    starts = [last_start * i / CLIPS for i in range(CLIPS)]
    clips = [wave[int(start * SAMPLE_RATE) : int((start + CLIP_SECONDS) * SAMPLE_RATE)] for start in starts]
    mels = np.stack([mel_frames(clip) for clip in clips])[:, None]
    return np.asarray((mels - AUDIO_MEAN) / AUDIO_DEVIATION, np.float32)


def read_sound(path: Path) -> Floats:
    """Read the first channel of a sound file, resampled to 16,000 samples per second.

    Raises:
        QueryError: The file does not exist, is not a sound file, or is shorter than 25 ms.
        ModelUnavailable: soundfile is not installed.
    """
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise ModelUnavailable(f"recordings need soundfile: {error}", "pip install soundfile") from error
    from scipy.signal import resample_poly

    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:
        raise QueryError(f"{path} cannot be read: {error}", "give a WAV, FLAC, OGG or MP3 file") from error
    if rate != SAMPLE_RATE:
        logger.debug("resampling %s from %d to %d samples per second", path, rate, SAMPLE_RATE)
    divisor = gcd(rate, SAMPLE_RATE)
    wave = np.asarray(resample_poly(samples[:, 0], SAMPLE_RATE // divisor, rate // divisor), np.float32)
    if len(wave) < WINDOW:
        raise QueryError(f"{path} is shorter than 25 ms", "give a recording of two seconds or more")
    return wave


def mel_frames(wave: Floats) -> Floats:
    """Apply Kaldi's filter bank: (128, 204) logarithms, padded with 0 if the sound is shorter."""
    from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

    with warnings.catch_warnings():  # the lowest of 128 bins are empty, in Kaldi too
        warnings.filterwarnings("ignore", "At least one mel filter has all zero values")
        filters = mel_filter_bank(
            num_frequency_bins=257,
            num_mel_filters=BINS,
            min_frequency=20,
            max_frequency=SAMPLE_RATE / 2,
            sampling_rate=SAMPLE_RATE,
            norm=None,
            mel_scale="kaldi",
            triangularize_in_mel_space=True,
        )
    mel_bins = spectrogram(
        wave - wave.mean(),
        window_function(WINDOW, "hann", periodic=False),
        frame_length=WINDOW,
        hop_length=HOP,
        fft_length=512,
        power=2.0,
        center=False,
        preemphasis=0.97,
        mel_filters=filters,
        log_mel="log",
        mel_floor=float(np.finfo(np.float32).eps),
        remove_dc_offset=True,
    )[:, :FRAMES]
    return np.pad(np.asarray(mel_bins, np.float32), ((0, 0), (0, FRAMES - mel_bins.shape[1])))
