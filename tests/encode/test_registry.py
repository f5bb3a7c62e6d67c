import pytest

from docrag.encode import registry
from docrag.errors import ModelUnavailable, UnknownModel


def test_every_name_of_the_tables_leads_to_a_class():
    rows = registry.list_models()
    assert {row["name"] for row in rows} >= {"minilm"}
    for row in rows:
        assert row["why"]
        assert "unavailable" in row or (row["dim"] > 0 and row["licence"])


def test_names_of_the_catalogue_are_told_without_asking_the_hub(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(registry, "locate", lambda name: pytest.fail(f"{name} was looked up"))
    rows = {row["name"]: row for row in registry.list_models()}
    assert rows["colpali"]["library"] == "colpali-engine"
    assert rows["colpali-hf"]["library"] == "sentence-transformers"


def test_an_unknown_name_is_refused_with_those_that_are_known():
    with pytest.raises(UnknownModel, match="minilm") as caught:
        registry.page_encoder("nonesuch")
    assert caught.value.exit_code == 2


def test_a_package_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(registry, "PAGE_ENCODERS", {"broken": "docrag_no_such_package:Thing"})
    with pytest.raises(ModelUnavailable, match="docrag_no_such_package"):
        registry.page_encoder("broken")
