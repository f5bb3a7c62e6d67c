"""MaxSim, the late-interaction score (Khattab & Zaharia 2020, ColBERT), in numpy: the oracle of tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def maxsim(query: NDArray[np.float32], page: NDArray[np.float32]) -> float:
    """Sum over the query's vectors of their best dot product with the page's vectors.

    Args:
        query: (q, dim)
        page: (n, dim), n >= 1
    """
    return float((query @ page.T).max(axis=1).sum())
