"""The limit on threads of matrix products, which several searches share."""

from __future__ import annotations

import multiprocessing
from typing import Any

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from docrag.common.blas import OneBlasThread


def blas_threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.fixture
def two_threads() -> Any:
    """Numpy's library with two threads, however many cores there are."""
    with threadpool_limits(limits=2, user_api="blas"):
        yield


def test_the_limit_holds_until_the_last_one_has_ended(two_threads):
    blas = OneBlasThread()
    first, second = blas.held(), blas.held()
    first.__enter__()
    assert blas_threads() == {1}
    second.__enter__()
    first.__exit__(None, None, None)
    assert blas_threads() == {1}
    second.__exit__(None, None, None)
    assert blas_threads() == {2}


def test_it_ends_with_an_error(two_threads):
    with pytest.raises(ZeroDivisionError), OneBlasThread().held():
        raise ZeroDivisionError
    assert blas_threads() == {2}


def test_a_child_that_is_forked_meanwhile_is_not_limited_for_ever(two_threads):
    blas = OneBlasThread()
    with blas.held():
        child = multiprocessing.get_context("fork").Process(target=require_unlimited, args=(blas,))
        child.start()
        child.join(60)
    assert child.exitcode == 0


def require_unlimited(blas: OneBlasThread) -> None:
    assert blas_threads() == {2}
    with blas.held():
        assert blas_threads() == {1}
    assert blas_threads() == {2}
