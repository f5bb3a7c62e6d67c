import importlib
import subprocess
import sys

import pytest

from docrag.common.moved_modules import MOVED
from docrag.operations.transfer import export_index


@pytest.mark.parametrize(("old_name", "new_name"), MOVED.items())
def test_an_old_name_gives_the_contents_of_the_new_one_and_a_warning(old_name, new_name):
    module = importlib.import_module(new_name)
    name = next(name for name in vars(module) if not name.startswith("_"))
    with pytest.warns(DeprecationWarning, match=f"{old_name} is now {new_name}"):
        assert getattr(importlib.import_module(old_name), name) is getattr(module, name)


def test_names_are_imported_from_an_old_module():
    with pytest.warns(DeprecationWarning, match="docrag.moving is now"):
        from docrag.moving import export_index as under_its_old_name
    assert under_its_old_name is export_index


def test_an_old_name_is_imported_first_in_a_new_process():
    code = "from docrag.search.conditions import Is; print(Is('page', (1,)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "Is(key='page', values=(1,))"


def test_a_name_that_never_was_is_not_found():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("docrag.nonsense")
    with pytest.raises(AttributeError), pytest.warns(DeprecationWarning):
        _ = importlib.import_module("docrag.moving").nonsense
