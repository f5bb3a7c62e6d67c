import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from docrag.encode.vectors.ward import ward_clusters


def squares_of(points: np.ndarray) -> np.ndarray:
    return ((points[:, None] - points) ** 2).sum(axis=2)


@pytest.mark.parametrize("count", [1, 2, 3, 50, 200])
@pytest.mark.parametrize("most", [1, 2, 7, 49])
def test_clusters_are_those_of_scipy(count: int, most: int):
    squares = squares_of(np.random.default_rng(count).normal(size=(count, 5)))
    condensed = squareform(np.sqrt(squares), checks=False)
    expected = fcluster(linkage(condensed, "ward"), most, "maxclust") if count > most else np.arange(count)
    found = ward_clusters(squares, most)
    np.testing.assert_array_equal(found[:, None] == found, expected[:, None] == expected)


def test_numbers_have_no_gaps_and_equal_points_are_one_cluster():
    points = np.repeat(np.array([[0.0, 0], [5, 5], [0, 9]]), 4, axis=0)
    found = ward_clusters(squares_of(points), 5)
    assert sorted(set(found)) == [0, 1, 2]
    np.testing.assert_array_equal(np.unique(found.reshape(3, 4), axis=1).shape, (3, 1))
