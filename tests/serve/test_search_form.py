"""The search form in the address."""

from __future__ import annotations

import pytest
from starlette.datastructures import QueryParams

from docrag.errors import QueryError
from docrag.serve.search_form import SearchForm


def test_a_form_in_an_address_is_read_back_unchanged():

    form = SearchForm("Müller & Söhne #3?", "text", 20, ("ab12cd34ef56",))
    assert SearchForm.parse(QueryParams(form.url().partition("?")[2])) == form
    assert SearchForm().url() == "/"
    with pytest.raises(QueryError):
        SearchForm(within=("ab12cd34ef56",)).chosen_from([])
