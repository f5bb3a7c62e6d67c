"""Retrievers that open an index themselves and close it; what the package imports."""

from __future__ import annotations

import ast
import copy
import logging
import subprocess
import sys
from pathlib import Path

import langchain_docrag
import pytest
from langchain_core.documents import Document
from langchain_core.runnables import ConfigurableField
from langchain_docrag import DocragRetriever
from pydantic import ValidationError

from docrag import Index
from docrag.errors import DocumentError, IndexNotFound, NotFound
from docrag.operations.follow import index_of
from tests.processes import is_held
from tests.samples import APPLE, CLOCK, FERRY, write_pdf

pytestmark = pytest.mark.slow


def files_and_pages(docs: list[Document]) -> list[tuple[str, int]]:
    """File name and page number, from 1."""
    return [(doc.metadata["file_name"], doc.metadata["page"] + 1) for doc in docs]


def test_copies_for_configurable_fields_leave_the_index_open(tmp_path):
    write_pdf(tmp_path / "docs" / "ferries.pdf", FERRY, APPLE, CLOCK)
    with DocragRetriever.from_folder(tmp_path / "docs", index=tmp_path / "index") as retriever:
        configurable = retriever.configurable_fields(k=ConfigurableField(id="k"))
        assert len(configurable.invoke("ferry", {"configurable": {"k": 1}})) == 1
        for copied in (retriever.model_copy(update={"k": 1}), copy.deepcopy(retriever)):
            copied.close()
        assert len(retriever.invoke("ferry", k=3)) == 3


def test_only_an_index_that_the_retriever_opened_is_closed(tmp_path):
    write_pdf(tmp_path / "ferries.pdf", FERRY)
    with DocragRetriever.from_folder(tmp_path / "ferries.pdf", index=tmp_path / "index"):
        pass
    with DocragRetriever.from_index(tmp_path / "index", k=1) as retriever:
        assert len(retriever.invoke("ferry")) == 1
        with DocragRetriever.from_index(tmp_path / "index", k=1) as second:
            assert second.invoke("ferry") == retriever.invoke("ferry")
        assert len(retriever.invoke("ferry")) == 1
    with pytest.raises(ValidationError):
        DocragRetriever.from_index(tmp_path / "index", k=0)
    assert not is_held(tmp_path / "index")
    with Index.open(tmp_path / "index") as index:
        index.as_retriever().close()
        assert len(index.search("ferry")) == 1


def test_from_index_does_not_create_an_index(tmp_path):
    with pytest.raises(IndexNotFound, match="docrag ingest"):
        DocragRetriever.from_index(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_each_folder_has_an_index_of_its_own_that_is_kept_up_to_date(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    write_pdf(tmp_path / "docs" / "ferries.pdf", FERRY)
    write_pdf(tmp_path / "other" / "apples.pdf", APPLE)
    with (
        caplog.at_level(logging.INFO, "langchain_docrag"),
        DocragRetriever.from_folder("docs", k=5) as retriever,
    ):
        assert "the index is up to date with docs" in caplog.messages
        assert files_and_pages(retriever.invoke("apples in the cellar")) == [("ferries.pdf", 1)]
    with DocragRetriever.from_folder(tmp_path / "other") as retriever:
        assert files_and_pages(retriever.invoke("ferry")) == [("apples.pdf", 1)]
    write_pdf(tmp_path / "docs" / "clocks.pdf", CLOCK)
    (tmp_path / "docs" / "ferries.pdf").unlink()
    with DocragRetriever.from_folder(tmp_path / "docs") as retriever:
        assert files_and_pages(retriever.invoke("ferry")) == [("clocks.pdf", 1)]
    assert index_of("docs").parent == tmp_path / "data" / "docrag" / "folders"
    assert sorted(path.name for path in (tmp_path / "docs").iterdir()) == ["clocks.pdf"]


def test_a_folder_without_pages_is_an_error_and_an_unreadable_file_a_warning(tmp_path):
    with pytest.raises(NotFound):
        DocragRetriever.from_folder(tmp_path / "nowhere", index=tmp_path / "index")
    (tmp_path / "docs").mkdir()
    with pytest.raises(DocumentError, match="docs"):
        DocragRetriever.from_folder(tmp_path / "docs", index=tmp_path / "index")
    (tmp_path / "docs" / "bad.pdf").write_text("no PDF")
    with pytest.raises(DocumentError, match=r"bad\.pdf"):
        DocragRetriever.from_folder(tmp_path / "docs", index=tmp_path / "index")
    write_pdf(tmp_path / "docs" / "ferries.pdf", FERRY)
    with pytest.warns(UserWarning, match=r"bad\.pdf") as warned:
        DocragRetriever.from_folder(tmp_path / "docs", index=tmp_path / "index").close()
    assert warned[0].filename == __file__


def test_a_missing_image_is_an_error_only_with_include_images(tmp_path):
    document = write_pdf(tmp_path / "docs" / "ferries.pdf", FERRY)
    with DocragRetriever.from_folder(tmp_path / "docs", index=tmp_path / "index") as retriever:
        [doc] = retriever.invoke("ferry")
        Path(doc.metadata["image_path"]).unlink()
        assert retriever.invoke("ferry", include_images=True)  # rendered again from the document
        Path(doc.metadata["image_path"]).unlink()
        document.unlink()
        assert retriever.invoke("ferry") == [doc]
        with pytest.raises(DocumentError, match=r"no image of .*ferries\.pdf, page 1"):
            retriever.invoke("ferry", include_images=True)


def test_without_langchain_the_error_says_what_to_install():
    code = (
        "import sys; sys.modules['langchain_core'] = None\n"
        "try: import langchain_docrag\n"
        "except ImportError as error: print(error)"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install" in process.stdout


def test_it_imports_docrag_and_langchain_core_only():
    folder = Path(langchain_docrag.__file__).parent
    roots = set()
    for module in folder.glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Import):
                roots |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                roots.add((node.module or "").split(".")[0])
    others = roots - set(sys.stdlib_module_names) - {"docrag", "langchain_docrag", "langchain_core"}
    assert others <= {"PIL", "numpy", "pydantic"}  # which docrag itself depends on
