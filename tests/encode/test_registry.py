"""The table of families, the names that are found through it, and mistakes in it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from docrag.encode import registry
from docrag.encode.base import CheckpointCard, Family
from docrag.encode.checkpoints import checkpoint as checkpoints
from docrag.encode.models import minilm
from docrag.encode.registry import FAMILIES, find_card, list_models, load_families, load_family, page_encoder
from docrag.errors import ModelUnavailable, UnknownModel
from tests.checkpoints.families import BUILDERS

HEAVY = ("torch", "transformers", "sentence_transformers", "colpali_engine", "PIL")
FIELDS = ("pages", "texts", "checkpoints", "architectures", "model_types", "saved_by")


def imported_by(code: str) -> list[str]:
    """The modules that a new process has imported after running some code."""
    code = f"import sys\n{code}\nprint(*sys.modules)"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    ).stdout.split()


def test_every_name_in_the_list_is_described():
    rows = list_models()
    names = [row["name"] for row in rows]
    assert {"minilm", "voyage-multimodal-3", "colpali", "clip-vit-b-32", "bge-m3"} <= set(names)
    for row in rows:
        assert row["why"]
        assert "unavailable" in row or (row["dim"] > 0 and row["licence"])


def test_short_names_are_described_without_asking_the_hub(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(checkpoints, "locate", lambda name: pytest.fail(f"{name} was looked up"))
    rows = {row["name"]: row for row in list_models()}
    assert rows["colpali"] == {
        "name": "colpali",
        "option": "--late",
        "library": "colpali-engine",
        "model": "vidore/colpali-v1.3",
        "licence": "Gemma",
        "dim": 128,
        "vectors": 1031,
        "why": "the library of ColPali's authors, which reads weights as it saved them",
    }
    assert rows["colpali-hf"]["library"] == "sentence-transformers"
    assert rows["clip-multilingual"]["library"] == "transformers"


def test_the_card_of_a_short_name():
    card = find_card("colqwen3")
    assert card == CheckpointCard("late", "TomoroAI/tomoro-colqwen3-embed-4b", "Apache-2.0", 320, 0)
    assert find_card("minilm") is None


def test_an_unknown_name_is_refused_with_those_that_are_known():
    with pytest.raises(UnknownModel, match="minilm") as refused:
        page_encoder("nonesuch")
    assert refused.value.exit_code == 2


def test_a_package_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(registry, "FAMILIES", {"broken": "docrag_no_such_package:FAMILY"})
    with pytest.raises(ModelUnavailable, match="docrag_no_such_package"):
        page_encoder("broken")


def test_resolving_names_imports_no_large_library():
    modules = imported_by("from docrag.encode.registry import list_models\nlist_models()")
    assert not set(modules) & set(HEAVY)


def test_the_default_models_load_no_other_family():
    code = "from docrag.encode.registry import name_of, page_encoder, text_encoder\n"
    code += "text_encoder('minilm'); name_of(page_encoder('minilm').spec.fingerprint())"
    modules = imported_by(code)
    families = {where.partition(":")[0] for where in FAMILIES.values()}
    assert families & set(modules) == {"docrag.encode.models.minilm"}
    assert "docrag.encode.plugins" not in modules
    assert "docrag.encode.models.pair" not in modules
    assert not [name for name in modules if name.startswith("docrag.encode.checkpoints")]


@pytest.mark.parametrize("name", FAMILIES)
def test_every_line_of_the_table_leads_to_a_declaration_with_an_encoder(name: str):
    family = load_family(name)
    assert family.pages or family.texts or family.opens
    assert family.why
    for card in family.checkpoints.values():
        assert card.option in ("late", "image", "text")
        assert card.model
        assert card.licence
        assert card.dim > 0
        assert card.vectors >= 0


@pytest.mark.parametrize("name", [name for name in FAMILIES if load_family(name).opens])
def test_every_architecture_has_a_tiny_checkpoint_that_is_tested(name: str):
    """A new architecture needs a builder in tests/checkpoints/families.py."""
    builders = [builder for builder in BUILDERS.values() if builder.family == name]
    assert builders
    assert set(load_family(name).architectures) <= {builder.architecture for builder in builders}


def test_every_tiny_checkpoint_belongs_to_a_family():
    assert {builder.family for builder in BUILDERS.values()} <= set(FAMILIES)


@pytest.mark.parametrize("field", FIELDS)
def test_no_two_families_declare_the_same(field: str):
    declared = [name for family in load_families() for name in getattr(family, field)]
    assert len(declared) == len(set(declared))


def test_short_names_and_built_in_names_differ():
    names = [
        name for family in load_families() for name in {*family.pages, *family.texts, *family.checkpoints}
    ]
    assert len(names) == len(set(names))


def test_families_of_one_library_give_the_same_reason():
    reasons = {(family.library, family.why) for family in load_families()}
    assert len(reasons) == len({library for library, _ in reasons})


def test_an_architecture_that_two_families_declare_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(registry, "FAMILIES", {**FAMILIES, "again": FAMILIES["clip"]})
    with pytest.raises(ValueError, match="clip-vit-b-32 is declared under checkpoints by families of"):
        find_card("clip-vit-b-32")


def test_a_line_that_leads_to_no_declaration_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(registry, "FAMILIES", {"wrong": "docrag.encode.models.minilm:MiniLMPages"})
    with pytest.raises(TypeError, match="minilm:MiniLMPages is no Family"):
        page_encoder("wrong")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "declares no encoder"),
        ({"architectures": ["ColNew"]}, "must declare opens and reads"),
        ({"opens": print, "architectures": ["ColNew"]}, "must declare opens and reads"),
        ({"opens": print, "reads": "weights"}, "nothing says which checkpoints"),
        (
            {
                "pages": {"new": minilm.MiniLMPages},
                "checkpoints": {"new": CheckpointCard("late", "a/b", "MIT", 8)},
            },
            "must declare opens and reads",
        ),
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Family(library="new", why="for a test", **fields)
