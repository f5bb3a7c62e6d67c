"""MUVERA: a page as one long vector, whose dot product with that of a query approximates their MaxSim.

Dhulipala, Hadian, Jayaram, Lee and Mirrokni 2024, "MUVERA: Multi-Vector Retrieval via Fixed Dimensional
Encodings" (arXiv 2405.19504). Random planes divide the space into cells. A query gives each cell the sum of
its vectors in it, a page the mean of its own; an empty cell of a page gets a vector of the nearest cell that
has one. Random signs project each cell to a few dimensions, and everything is repeated several times.
Parameters and random numbers are those of fastembed, so that both give the same vectors (here in a quarter of
the time). Depending on fastembed for this one file would bring in another HTTP client, a logger, stemmers,
and limits on the version of huggingface-hub.

It is not offered as a `--pooling`. If it proposes a tenth of 200 pages, these contain 0.66 of the exact ten
best for synthetic pages of 1030 x 128 and 0.70 for real ones of 380 x 384, where pooling by rows gives 0.71
and 0.80; its 20 KB are twice the size of rows of 128 floats, and encoding a page takes at least 18 ms. HNSW
links one vector per page cheaply, which may pay off from a hundred thousand pages on; that was not measured.
`docrag tune --compare` measures the rest on an index's own pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Muvera:
    """Encodes multi-vectors of one dimension; only encodings with the same parameters can be compared.

    Args:
        dim: Length of each vector.
        planes: Planes that divide the space, 1 to 10: they make 2^planes cells.
        cell_dim: Dimensions of a cell; those of the vectors, if these are fewer.
        repetitions: How often it is repeated, each time with other planes and signs.
        seed: Seed of the random numbers.
    """

    dim: int
    planes: int = 5
    cell_dim: int = 16
    repetitions: int = 20
    seed: int = 42

    @property
    def size(self) -> int:
        """Length of an encoding."""
        return self.repetitions * (1 << self.planes) * min(self.cell_dim, self.dim)

    def page(self, vectors: Floats) -> Floats:
        """The encoding of a page.

        Args:
            vectors: (n, dim), n >= 1.

        Returns:
            (size,) not normalised.
        """
        cells, projected = self._cells(vectors)
        return np.concatenate(
            [self._cell_means(cell, rows) for cell, rows in zip(cells.T, projected, strict=True)]
        )

    def query(self, vectors: Floats) -> Floats:
        """The encoding of a query; the same shapes as for a page."""
        cells, projected = self._cells(vectors)
        encoding = np.zeros((self.repetitions, (1 << self.planes), projected.shape[2]), np.float32)
        for sums, cell, rows in zip(encoding, cells.T, projected, strict=True):
            np.add.at(sums, cell, rows)
        return encoding.reshape(-1)

    def _cells(self, vectors: Floats) -> tuple[NDArray[np.int64], Floats]:
        """(n, repetitions) the cell of each vector, and (repetitions, n, cell_dim) the projected vectors."""
        planes, signs = self._random
        above = np.einsum("nd,rdp->nrp", vectors, planes, optimize=True) > 0
        cells = above @ (1 << np.arange(self.planes))
        if self.cell_dim >= self.dim:
            return cells, np.broadcast_to(vectors, (self.repetitions, *vectors.shape))
        return cells, np.asarray(vectors @ signs / self.cell_dim**0.5, np.float32)

    def _cell_means(self, cell: NDArray[np.int64], rows: Floats) -> Floats:
        """The mean of each cell; an empty cell gets the first vector of the nearest cell that has one."""
        occupied, first, group = np.unique(cell, return_index=True, return_inverse=True)
        sums = np.zeros((len(occupied), rows.shape[1]), np.float32)
        np.add.at(sums, group, rows)
        nearest = self._distances[:, occupied].argmin(axis=1)
        means = rows[first[nearest]]
        means[occupied] = sums / np.bincount(group)[:, None]
        return np.asarray(means.reshape(-1))

    @cached_property
    def _distances(self) -> NDArray[np.int64]:
        """(cells, cells) the number of planes between two cells."""
        cells = range(1 << self.planes)
        return np.array([[(row ^ column).bit_count() for column in cells] for row in cells])

    @cached_property
    def _random(self) -> tuple[Floats, Floats]:
        """(repetitions, dim, planes) the normals of the planes, and (repetitions, dim, cell_dim) signs."""
        random = np.random.default_rng(self.seed)
        planes = random.normal(size=(self.repetitions, self.dim, self.planes))
        signs = random.choice([-1, 1], size=(self.repetitions, self.dim, min(self.cell_dim, self.dim)))
        return planes.astype(np.float32), signs.astype(np.float32)
