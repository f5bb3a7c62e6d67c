"""What ImageBind sees and hears, as its own data.py makes it of files; here of images, in numpy."""

from __future__ import annotations

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

Floats = NDArray[np.float32]

SIDE = 224
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
DEVIATION = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)

RATE = 16000
"""Samples a second."""
CLIPS = 3
CLIP = 2
"""Seconds."""
BINS = 128
FRAMES = 204
WINDOW, HOP = 400, 160
"""Samples: 25 ms every 10 ms."""
AUDIO_MEAN, AUDIO_DEVIATION = -4.268, 9.138


def pixels_of(image: Image) -> Floats:
    """The middle square of an RGB image: (3, 224, 224)."""
    from PIL import Image as pillow

    short = min(image.size)
    width, height = (int(SIDE * side / short) for side in image.size)
    left, top = round((width - SIDE) / 2), round((height - SIDE) / 2)
    resized = image.resize((width, height), pillow.Resampling.BICUBIC)
    square = resized.crop((left, top, left + SIDE, top + SIDE))
    scaled = np.asarray(square, np.float32) / 255
    return np.asarray(((scaled - MEAN) / DEVIATION).transpose(2, 0, 1), np.float32)


def clips_of(path: Path) -> Floats:
    """Three clips of a recording, evenly spread: (3, 1, 128, 204) mel bins by frames.

    Raises:
        QueryError: The file is not there, is no sound file, or is shorter than 25 ms.
        ModelUnavailable: soundfile is not installed.
    """
    wave = read_sound(path)
    last = Fraction(max(len(wave) / RATE - CLIP, 0))
    starts = [last * i / CLIPS for i in range(CLIPS)]
    clips = [wave[int(start * RATE) : int((start + CLIP) * RATE)] for start in starts]
    mels = np.stack([mel_frames(clip) for clip in clips])[:, None]
    return np.asarray((mels - AUDIO_MEAN) / AUDIO_DEVIATION, np.float32)


def read_sound(path: Path) -> Floats:
    """The first channel of a sound file, 16000 samples a second.

    Raises:
        QueryError: The file is not there, is no sound file, or is shorter than 25 ms.
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
    common = gcd(rate, RATE)
    wave = np.asarray(resample_poly(samples[:, 0], RATE // common, rate // common), np.float32)
    if len(wave) < WINDOW:
        raise QueryError(f"{path} is shorter than 25 ms", "give a recording of two seconds or more")
    return wave


def mel_frames(wave: Floats) -> Floats:
    """Kaldi's filter bank: (128, 204) logarithms, cut, or filled with 0 where the sound is shorter."""
    from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

    with warnings.catch_warnings():  # the lowest of 128 bins are empty, for Kaldi as well
        warnings.filterwarnings("ignore", "At least one mel filter has all zero values")
        filters = mel_filter_bank(
            num_frequency_bins=257,
            num_mel_filters=BINS,
            min_frequency=20,
            max_frequency=RATE / 2,
            sampling_rate=RATE,
            norm=None,
            mel_scale="kaldi",
            triangularize_in_mel_space=True,
        )
    found = spectrogram(
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
    return np.pad(np.asarray(found, np.float32), ((0, 0), (0, FRAMES - found.shape[1])))
