"""Packages that offer encoders, installed where a test wants them."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path


def install(sources: Path, target: Path) -> Path:
    """Have pip install a package of plain modules into a folder of its own; the folder, for PYTHONPATH.

    The wheel is made here, since a build backend may not be at hand; pip does the rest.

    Args:
        sources: A folder with pyproject.toml and modules beside it.
        target: The folder.
    """
    wheel = build_wheel(sources, target.with_name(f"{target.name}-wheel"))
    options = [
        "--quiet",
        "--no-deps",
        "--no-index",
        "--disable-pip-version-check",
        "--root-user-action=ignore",
    ]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(wheel)]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    return target


def build_wheel(sources: Path, folder: Path) -> Path:
    """A wheel with the modules and entry points of a package."""
    project = tomllib.loads((sources / "pyproject.toml").read_text())["project"]
    stem = f"{project['name'].replace('-', '_')}-{project['version']}"
    files = {module.name: module.read_text() for module in sources.glob("*.py")}
    files |= metadata(project["name"], project["version"], project["entry-points"], f"{stem}.dist-info")
    record = f"{stem}.dist-info/RECORD"
    lines = [f"{name},sha256={_digest(text)},{len(text.encode())}" for name, text in files.items()]
    files[record] = "\n".join([*lines, f"{record},,", ""])
    folder.mkdir(parents=True)
    wheel = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return wheel


def metadata(name: str, version: str, groups: dict[str, dict[str, str]], folder: str) -> dict[str, str]:
    """What a dist-info directory holds, by path."""
    points = [
        f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in given.items()) for group, given in groups.items()
    ]
    return {
        f"{folder}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{folder}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{folder}/entry_points.txt": "\n".join(points),
    }


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
