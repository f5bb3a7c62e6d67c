"""The search form in the address."""

from __future__ import annotations

import pytest
from starlette.datastructures import QueryParams

from docrag.errors import QueryError
from docrag.serve.search_form import SearchForm


def test_the_address_of_a_question_is_read_back_as_it_was():
    from starlette.datastructures import QueryParams

    wanted = SearchForm("Müller & Söhne #3?", "text", 20, ("ab12cd34ef56",))
    assert SearchForm.of(QueryParams(wanted.url().partition("?")[2])) == wanted
    assert SearchForm().url() == "/"
    with pytest.raises(QueryError):
        SearchForm(within=("ab12cd34ef56",)).chosen([])
