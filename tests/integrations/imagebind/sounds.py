"""Sound files for the tests."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np


def write_sound(path: Path, seconds: float, rate: int = 16000, pitch: float = 440, channels: int = 1) -> Path:
    """Write a tone that grows louder; in stereo the second channel is silent."""
    positions = np.arange(int(seconds * rate))
    volume = 0.1 + 0.4 * positions / max(1, len(positions))
    tone = volume * np.sin(2 * np.pi * pitch * positions / rate)
    samples = np.zeros((len(positions), channels), np.int16)
    samples[:, 0] = tone * 32767
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return path
