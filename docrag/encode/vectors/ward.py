"""Ward's method: vectors are joined into clusters, always the two whose union spreads least."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Merge(NamedTuple):
    """Two clusters that become one, each named by one of its vectors."""

    square: float
    """The square of the distance between them."""
    kept: int
    joined: int


def ward_clusters(squares: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    """The clusters that are left when at most so many are wanted; scipy's `fcluster` gives the same.

    Args:
        squares: (n, n) squares of Euclidean distances, n >= 1; they are overwritten.
        most: The most clusters. Clusters at equal distances are joined together, so there may be fewer.

    Returns:
        (n,) cluster numbers from 0, without gaps.
    """
    count = len(squares)
    if count <= most:
        return np.arange(count)
    merges = sorted(_merges(squares))
    largest = merges[count - most - 1].square
    cluster = np.arange(count)
    for merge in merges:
        if merge.square <= largest:
            cluster[cluster == cluster[merge.joined]] = cluster[merge.kept]
    return np.unique(cluster, return_inverse=True)[1].astype(np.int64)


def _merges(squares: NDArray[np.float64]) -> list[Merge]:
    """All merges, from single vectors to one cluster, in any order; by chains of nearest neighbours.

    Each cluster of a chain is the nearest of the one before it. The chain ends with two that are nearest to
    each other; joining these first changes none of the later merges (Murtagh 1983).
    """
    np.fill_diagonal(squares, np.inf)
    sizes = np.ones(len(squares))
    chain: list[int] = []
    merges: list[Merge] = []
    while len(merges) < len(squares) - 1:
        if not chain:
            chain.append(int(np.flatnonzero(sizes)[0]))
        last = chain[-1]
        nearest = int(np.argmin(squares[last]))
        if len(chain) > 1 and squares[last, chain[-2]] <= squares[last, nearest]:
            merge = Merge(float(squares[last, chain[-2]]), chain[-2], last)
            merges.append(merge)
            _join(squares, sizes, merge)
            del chain[-2:]
        else:
            chain.append(nearest)
    return merges


def _join(squares: NDArray[np.float64], sizes: NDArray[np.float64], merge: Merge) -> None:
    """Let one cluster take in another: its distances to all others follow (Lance and Williams 1967)."""
    _, kept, joined = merge
    total = sizes[kept] + sizes[joined] + sizes
    with np.errstate(invalid="ignore"):  # infinity less infinity, for clusters that are gone
        updated = (sizes[kept] + sizes) * squares[kept] + (sizes[joined] + sizes) * squares[joined]
        updated = (updated - sizes * merge.square) / total
    sizes[kept] += sizes[joined]
    sizes[joined] = 0
    updated[(sizes == 0) | (np.arange(len(sizes)) == kept)] = np.inf
    squares[kept] = squares[:, kept] = updated
    squares[joined] = squares[:, joined] = np.inf
