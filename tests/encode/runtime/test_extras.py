import pytest

from docrag.encode.runtime import extras
from docrag.encode.runtime.extras import has_torch, is_cpu, require_torch
from docrag.errors import ModelUnavailable, SettingsError


def test_what_torch_can_do_is_accepted_where_it_is_installed():
    require_torch("clip-vit-b-32")
    assert has_torch()
    assert is_cpu("cpu")
    with pytest.raises(SettingsError, match="no device"):
        is_cpu("abacus")


def test_what_torch_can_do_is_refused_where_it_is_not(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(ModelUnavailable, match="clip-vit-b-32 needs torch") as refused:
        require_torch("clip-vit-b-32")
    assert refused.value.hint == "pip install 'docrag-qdrant[models]'"
    assert is_cpu("cpu")
    assert is_cpu("auto")
    assert not is_cpu("cuda")
