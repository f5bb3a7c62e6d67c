import numpy as np
import pytest

from docrag.encode.vectors.muvera import Muvera
from tests.encode.maxsim import maxsim


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def some(seed: int, rows: int, dim: int = 32) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(rows, dim)))


def waves() -> np.ndarray:
    """Six vectors of 24 numbers that need no random generator."""
    grid = np.arange(24 * 6).reshape(6, 24)
    return np.stack([np.cos(row * (i + 1)) for i, row in enumerate(grid)]).astype(np.float32)


def test_the_numbers_are_those_of_fastembed():
    """As Muvera(24, k_sim=3, dim_proj=4, r_reps=2, random_seed=7) of fastembed 0.9.1 gives them."""
    ours = Muvera(24, planes=3, cell_dim=4, repetitions=2, seed=7)
    page, query = ours.page(waves()), ours.query(waves())
    first, third = [-2.51833, 1.26309, -0.83531, -2.16462], [-0.03225, 0.18582, -0.23584, -1.05816]
    np.testing.assert_allclose(page[:12], [*first, *first, *third], atol=1e-5)
    np.testing.assert_allclose(query[:8], [0, 0, 0, 0, *first], atol=1e-5)
    np.testing.assert_allclose(query[8:12], 2 * np.array(third), atol=3e-5)
    assert page.sum() == pytest.approx(1.0366540, abs=1e-5)
    assert query.sum() == pytest.approx(-1.0434227, abs=1e-5)


def test_its_length_depends_on_the_parameters_alone():
    ours = Muvera(128)
    assert ours.size == 10_240
    assert {len(ours.page(some(0, rows, 128))) for rows in (1, 6, 300)} == {ours.size}
    assert len(ours.query(some(0, 20, 128))) == ours.size
    assert Muvera(8).size == 20 * 32 * 8


def test_the_dot_product_grows_with_maxsim():
    ours = Muvera(32, repetitions=100)
    query = some(0, 8)
    pages = [np.concatenate([unit(query[:near] + 0.1 * some(near, near)), some(9, 40)]) for near in range(9)]
    exact = np.array([maxsim(query, page) for page in pages])
    estimates = np.array([ours.query(query) @ ours.page(page) for page in pages]) / ours.repetitions
    assert np.corrcoef(exact, estimates)[0, 1] > 0.98
    assert (estimates < 1.05 * exact).all()  # a mean is never nearer than the nearest


def test_order_of_a_querys_vectors_does_not_matter_and_its_parts_add_up():
    ours, query = Muvera(32), some(1, 10)
    np.testing.assert_allclose(ours.query(query[::-1]), ours.query(query), atol=1e-5)
    np.testing.assert_allclose(ours.query(query[:4]) + ours.query(query[4:]), ours.query(query), atol=1e-5)


def test_the_same_vector_again_changes_a_query_and_no_page():
    ours, page = Muvera(32), some(2, 12)
    twice = np.concatenate([page, page])
    np.testing.assert_allclose(ours.page(twice), ours.page(page), atol=1e-5)
    np.testing.assert_allclose(ours.query(twice), 2 * ours.query(page), atol=1e-5)


def test_a_page_of_one_vector_has_it_in_every_cell():
    ours, page = Muvera(16, cell_dim=16), some(3, 1, 16)
    np.testing.assert_array_equal(ours.page(page).reshape(-1, 16), np.tile(page, (20 * 32, 1)))


def test_another_seed_gives_other_numbers():
    page = some(4, 30)
    assert not np.allclose(Muvera(32).page(page), Muvera(32, seed=1).page(page))
    np.testing.assert_array_equal(Muvera(32).page(page), Muvera(32).page(page))
