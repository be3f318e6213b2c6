"""What training makes small, where marked particles are sure and unmarked places are not.

Each objective takes the log-odds `z` of "a particle's centre is here" and the heat `t` around the
marks, both (n, y, x).

- ``pn``: cross-entropy, unmarked places being empty.
- ``truncated``: the same, without unmarked places at which the network is sure of a particle: such
  a loss is an outlier of a wrong label (as in Reed et al. 2015, arXiv:1412.6596).
- ``nnpu``: the non-negative risk of Kiryo et al. (2017), NeurIPS 30, 1675 (arXiv:1703.00593):
  unmarked places are a mixture of empty ones and a known share of centres.
- ``ge-binomial``: generalised expectation of Bepler et al. (2019), Nat. Methods 16, 1153: the
  number of centres among unmarked places shall follow a binomial distribution.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

__all__ = ["centre_odds", "objective_value"]

# The network's chance of a centre above which an unmarked place is left out by ``truncated``, and
# the heat below which a place counts as unmarked.
_SURE, _UNMARKED = 0.7, 0.05
# Unmarked places that ``ge-binomial`` counts at once, and the weight of its expectation.
_COUNTED, _SLACK = 1024, 1.0


def centre_odds(logits: Any) -> Any:
    """Return the log-odds of a centre, (n, y, x), from logits of three classes (n, 3, y, x)."""
    return logits[:, 1] - torch.logsumexp(logits[:, ::2], dim=1)


def objective_value(name: str, z: Any, t: Any, missing: float, generator: Any) -> Any:
    """Return the scalar to make small.

    Parameters
    ----------
    name
        See above.
    z, t
        Log-odds and heat, (n, y, x).
    missing
        Share of the particles that are not marked.
    generator
        torch's source of chance.
    """
    if name == "truncated":
        loss = functional.binary_cross_entropy_with_logits(z, t, reduction="none")
        outlier = (t < _UNMARKED) & (z.detach().sigmoid() > _SURE)
        return (loss * ~outlier).sum() / max(1, int((~outlier).sum()))
    if name == "nnpu":
        return _non_negative(z, t, missing)
    if name == "ge-binomial":
        return _expected_count(z, t, missing, generator)
    return functional.binary_cross_entropy_with_logits(z, t)


def _non_negative(z: Any, t: Any, missing: float) -> Any:
    marked = t.sum().clamp_min(1e-6)
    share = marked / t.numel() / (1 - missing)
    as_centre = (t * functional.softplus(-z)).sum() / marked
    as_empty = (t * functional.softplus(z)).sum() / marked
    rest = functional.softplus(z).mean() - share * as_empty
    # Below zero the network has learnt marks by heart: step back from there.
    return share * as_centre + rest if float(rest.detach()) >= 0 else -rest


def _expected_count(z: Any, t: Any, missing: float, generator: Any) -> Any:
    marked = t.sum().clamp_min(1e-6)
    labelled = (t * functional.softplus(-z)).sum() / marked
    unmarked = z[t < _UNMARKED]
    chosen = torch.randint(len(unmarked), (_COUNTED,), generator=generator)
    chance = unmarked[chosen].sigmoid()
    mean, variance = chance.sum(), (chance * (1 - chance)).sum().clamp_min(1e-3)
    # Of the unmarked places, those near missed particles.
    share = (marked / t.numel() * missing / (1 - missing)).clamp(1e-5, 0.5)
    k = torch.arange(_COUNTED + 1, dtype=z.dtype)
    ours = torch.log_softmax(-0.5 * (k - mean) ** 2 / variance, dim=0)
    wanted = torch.distributions.Binomial(_COUNTED, share).log_prob(k).exp()
    return labelled - _SLACK * (wanted * ours).sum() / _COUNTED**0.5
