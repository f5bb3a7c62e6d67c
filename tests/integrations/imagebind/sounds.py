"""Recordings that tests make."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np


def write_sound(path: Path, seconds: float, rate: int = 16000, pitch: float = 440, channels: int = 1) -> Path:
    """A tone that grows louder; in stereo the second channel is silent."""
    at = np.arange(int(seconds * rate))
    tone = np.sin(2 * np.pi * pitch * at / rate) * (0.1 + 0.4 * at / max(1, len(at)))
    samples = np.zeros((len(at), channels), np.int16)
    samples[:, 0] = tone * 32767
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return path
