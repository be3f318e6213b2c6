"""Each particle to its best class, no class larger than it may be."""

from __future__ import annotations

import numpy as np

from icefloe._types import AnyArray, FloatArray

__all__ = ["balanced_classes"]

_ROUNDS = 200


def balanced_classes(score: FloatArray, largest: int) -> AnyArray:
    """Return the class of each particle: the best after what full classes charge.

    A class that would get more than `largest` particles charges each a price, the same for all,
    just so high that the surplus, which loses least by it, goes elsewhere (an auction; Bertsekas
    1988, Ann. Oper. Res. 14, 105). Without a limit the class with most members has the least noise
    in its average, so all scores are higher there, and it grows on.

    Parameters
    ----------
    score
        (n, K), in standard deviations.
    largest
        Most particles of a class.

    Returns
    -------
    ndarray
        (n,) int. Where the limit cannot be met in the rounds there are, it is nearly met.
    """
    n, n_classes = score.shape
    price = np.zeros(n_classes, dtype=score.dtype)
    rows = np.arange(n)
    for _ in range(_ROUNDS if n_classes > 1 and largest < n else 1):
        value = score - price
        best = value.argmax(axis=1)
        count = np.bincount(best, minlength=n_classes)
        over = np.flatnonzero(count > largest)
        if not over.size:
            break
        top = value[rows, best]
        value[rows, best] = -np.inf
        margin = top - value.max(axis=1)
        for k in over.tolist():
            surplus = int(count[k]) - largest
            of_class = np.sort(margin[best == k])
            price[k] += of_class[surplus - 1] + 1e-4
    return np.asarray(best)
