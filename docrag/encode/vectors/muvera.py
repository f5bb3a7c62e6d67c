"""MUVERA: a page as one long vector, whose dot product with a question's grows with their MaxSim.

Dhulipala, Hadian, Jayaram, Lee and Mirrokni 2024, "MUVERA: Multi-Vector Retrieval via Fixed Dimensional
Encodings" (arXiv 2405.19504). Random planes cut the space into cells. A question gives each cell the sum of
its vectors there, a page the mean of its own; an empty one has a vector of the nearest that is not. Each cell
is brought to few dimensions by random signs, and all of it is done several times over. Parameters and random
numbers are those of fastembed, so that both give the same vectors (here in a quarter of the time). To depend
on it for this one file would bring another HTTP client, a logger, stemmers, and limits on huggingface-hub.

It is no choice of `--pooling`. The tenth of 200 pages that it proposes holds 0.66 of the exact ten best
of synthetic pages of 1030 x 128 and 0.70 of real ones of 380 x 384, where rows give 0.71 and 0.80; its 20 KB
are twice what rows of 128 floats take, and a page takes 18 ms and more to encode. HNSW links one vector a
page at little cost, which may pay from a hundred thousand pages on; that was not measured. `docrag tune
--compare` measures the rest on an index's own pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Muvera:
    """Encodes multi-vectors of one dimension; only encodings with equal parameters can be compared.

    Args:
        dim: Of each vector.
        planes: That cut the space, 1 to 10: 2^planes cells.
        most: Dimensions of a cell; as many as the vectors have, where those are fewer.
        repetitions: With planes and signs of their own.
        seed: Of the random numbers.
    """

    dim: int
    planes: int = 5
    most: int = 16
    repetitions: int = 20
    seed: int = 42

    @property
    def size(self) -> int:
        """Numbers of an encoding."""
        return self.repetitions * (1 << self.planes) * min(self.most, self.dim)

    def page(self, vectors: Floats) -> Floats:
        """A page's encoding.

        Args:
            vectors: (n, dim), n >= 1.

        Returns:
            (size,) not normalised.
        """
        cells, projected = self._placed(vectors)
        return np.concatenate([self._means(*one) for one in zip(cells.T, projected, strict=True)])

    def query(self, vectors: Floats) -> Floats:
        """A question's encoding; the same shapes as of a page."""
        cells, projected = self._placed(vectors)
        out = np.zeros((self.repetitions, (1 << self.planes), projected.shape[2]), np.float32)
        for sums, cell, rows in zip(out, cells.T, projected, strict=True):
            np.add.at(sums, cell, rows)
        return out.reshape(-1)

    def _placed(self, vectors: Floats) -> tuple[NDArray[np.int64], Floats]:
        """(n, repetitions) the cell of each vector, (repetitions, n, most) the vector in few dimensions."""
        planes, signs = self._random
        above = np.einsum("nd,rdp->nrp", vectors, planes, optimize=True) > 0
        cells = above @ (1 << np.arange(self.planes))
        if self.most >= self.dim:
            return cells, np.broadcast_to(vectors, (self.repetitions, *vectors.shape))
        return cells, np.asarray(vectors @ signs / self.most**0.5, np.float32)

    def _means(self, cell: NDArray[np.int64], rows: Floats) -> Floats:
        """The mean of each cell; an empty one has the first vector of the nearest cell that has some."""
        full, first, group = np.unique(cell, return_index=True, return_inverse=True)
        sums = np.zeros((len(full), rows.shape[1]), np.float32)
        np.add.at(sums, group, rows)
        nearest = self._apart[:, full].argmin(axis=1)
        out = rows[first[nearest]]
        out[full] = sums / np.bincount(group)[:, None]
        return np.asarray(out.reshape(-1))

    @cached_property
    def _apart(self) -> NDArray[np.int64]:
        """(cells, cells) planes that lie between two cells."""
        cells = range(1 << self.planes)
        return np.array([[(one ^ other).bit_count() for other in cells] for one in cells])

    @cached_property
    def _random(self) -> tuple[Floats, Floats]:
        """(repetitions, dim, planes) normals of the planes, (repetitions, dim, most) signs."""
        random = np.random.default_rng(self.seed)
        planes = random.normal(size=(self.repetitions, self.dim, self.planes))
        signs = random.choice([-1, 1], size=(self.repetitions, self.dim, min(self.most, self.dim)))
        return planes.astype(np.float32), signs.astype(np.float32)
