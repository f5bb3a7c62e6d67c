"""The torchvision that does not fit this torch, and one that is broken otherwise."""

from __future__ import annotations

import sys

import pytest

from docrag.encode.checkpoints.torchvision import mend_torchvision
from docrag.errors import ModelUnavailable

BROKEN = {
    "RuntimeError": "Couldn't load custom C++ ops",
    "OSError": "libcudart.so.12: cannot open shared object file",
    "AttributeError": "partially initialized module",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_torchvision_is_told_with_what_to_do(tmp_path, monkeypatch, kind):
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(f'raise {kind}("{BROKEN[kind]}")')
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ModelUnavailable, match="cannot be imported") as refused:
        mend_torchvision.__wrapped__()
    assert BROKEN[kind] in refused.value.message
    assert "pip uninstall torchvision" in refused.value.hint
