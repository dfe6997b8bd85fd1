"""The couplings of torchcfm 1.0 by brenier: ``from brenier.torchcfm import OTPlanSampler`` and nothing else changes.

    matcher = torchcfm.ConditionalFlowMatcher(sigma=0.1)
    x0, x1 = OTPlanSampler(method="exact").sample_plan(x0, x1)
    t, xt, ut = matcher.sample_location_and_conditional_flow(x0, x1)

Plans are drawn from without being written out, except by `get_map`, which is there to return them.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, Optional, Union

import numpy as np
import torch

from brenier import _transport
from brenier._arrays import host

_TOL = 1e-6
"""The L1 error of the marginals of an entropic plan: below what single precision tells of a batch."""


def _double(array: torch.Tensor) -> np.ndarray:
    return host(array).astype(np.float64)


_COMPUTED = 8
"""Up to this dimension costs are computed as they are needed; above it PyTorch's product of matrices is quicker."""


def _ends(x0: torch.Tensor, x1: torch.Tensor, power: int = 2) -> dict[str, Any]:
    """Batches of any shape as points, or as a matrix of costs ½|x − y|², or |x − y| for a `power` of 1."""
    x0, x1 = (x.detach().reshape(len(x), -1) for x in (x0, x1))
    if x0.shape[1] <= _COMPUTED:
        return {"x": x0, "y": x1, "cost": "half-sq-euclidean" if power == 2 else "euclidean"}
    distances = torch.cdist(x0, x1)
    return {"x": None, "y": None, "cost": 0.5 * distances**2 if power == 2 else distances}


class OTPlanSampler:
    """Draws pairs of two minibatches from their optimal plan under |x − y|² (Tong et al. 2024, algorithm 3).

    Parameters
    ----------
    method : str
        ``exact``: network simplex, at most 5,000 points a side; ``sinkhorn``; ``unbalanced``: entropic with free marginals.
    reg : float
        ε of the entropic plans, in units of |x − y|².
    reg_m : float
        What the marginals of ``unbalanced`` are held by: reg_m · KL.
    normalize_cost : bool
        Divide costs by the greatest, so that `reg` and `reg_m` are shares of it.
    num_threads : int or "max"
        Taken and not used: threads are those of :func:`brenier.set_threads`.
    warn : bool
        Warn of a plan without mass, in whose place all pairs are alike.
    """

    def __init__(
        self,
        method: str,
        reg: float = 0.05,
        reg_m: float = 1.0,
        normalize_cost: bool = False,
        num_threads: Union[int, str] = 1,
        warn: bool = True,
    ) -> None:
        if method == "partial":
            raise NotImplementedError('brenier has no partial plans; method="unbalanced" also leaves mass where it is')
        if method not in ("exact", "sinkhorn", "unbalanced"):
            raise ValueError(f'there is no method "{method}"; take "exact", "sinkhorn" or "unbalanced"')
        self.method, self.reg, self.reg_m = method, reg, reg_m
        self.normalize_cost, self.warn = normalize_cost, warn

    def _plan(self, x0: torch.Tensor, x1: torch.Tensor) -> _transport.Plan:
        ends = _ends(x0, x1)
        if self.method == "exact":
            return _transport.exact(**ends).plan
        unit = float(torch.cdist(x0.detach().flatten(1), x1.detach().flatten(1)).max()) ** 2 if self.normalize_cost else 1.0
        eps, rho = 0.5 * self.reg * unit, 0.5 * self.reg_m * unit  # in units of ½|x − y|²
        reach = None
        if self.method == "unbalanced":
            reach = rho if ends["x"] is None else math.sqrt(rho)  # a matrix of costs knows no lengths
        with warnings.catch_warnings():
            if not self.warn:
                warnings.simplefilter("ignore")
            return _transport.sinkhorn(**ends, eps=eps, reach=reach, tol=_TOL).plan

    def get_map(self, x0: torch.Tensor, x1: torch.Tensor) -> np.ndarray:
        """The plan between two batches, (n, *dim) and (m, *dim): n × m in NumPy, of mass one unless marginals are free."""
        plan = _double(self._plan(x0, x1).matrix())
        if abs(plan.sum()) < 1e-8:
            self._empty()
            plan = np.full_like(plan, 1 / plan.size)
        return plan

    def _empty(self) -> None:
        if self.warn:
            warnings.warn("the plan has no mass; pairs are drawn as if independent. Raise reg_m, or scale the data", stacklevel=4)

    def sample_map(self, pi: np.ndarray, batch_size: int, replace: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """`batch_size` pairs (i, j) drawn from a plan by NumPy's global generator: two arrays of indices."""
        rows, columns = np.nonzero(pi)
        return _choose(rows, columns, pi[rows, columns], batch_size, replace)

    def _draw(self, x0: torch.Tensor, x1: torch.Tensor, replace: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """As many pairs as x0 has points, with the law of :meth:`sample_map`, from the plan's entries or row by row."""
        n, plan = len(x0), self._plan(x0, x1)
        if self.method == "exact":
            i, j, mass = map(host, plan.entries())
            order = np.lexsort((j, i))  # that of the map's rows, so that the generator draws the same
            pairs = _choose(i[order], j[order], mass[order].astype(np.float64), n, replace)
        elif replace:
            rows = _double(plan.apply(np.ones(len(x1))))
            if rows.sum() < 1e-8:
                self._empty()
                pairs = np.random.randint(n, size=n), np.random.randint(len(x1), size=n)
            else:
                pairs = _given_rows(plan, np.random.choice(n, p=rows / rows.sum(), size=n))
        else:
            pairs = self.sample_map(self.get_map(x0, x1), n, replace=False)
        source, target = pairs
        return torch.as_tensor(source, device=x0.device), torch.as_tensor(target, device=x1.device)

    def sample_plan(self, x0: torch.Tensor, x1: torch.Tensor, replace: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
        """Pairs of points drawn from the plan of two batches: x0[i] and x1[j], as many as x0 has points, on their devices."""
        i, j = self._draw(x0, x1, replace)
        return x0[i], x1[j]

    def sample_plan_with_labels(
        self,
        x0: torch.Tensor,
        x1: torch.Tensor,
        y0: Optional[torch.Tensor] = None,
        y1: Optional[torch.Tensor] = None,
        replace: bool = True,
    ) -> tuple[torch.Tensor, torch.Tensor, Optional[torch.Tensor], Optional[torch.Tensor]]:
        """Pairs with their labels: x0[i], x1[j], y0[i], y1[j]. The plan sees no label; that of :func:`brenier.couple` does."""
        i, j = self._draw(x0, x1, replace)
        return x0[i], x1[j], None if y0 is None else y0[i], None if y1 is None else y1[j]

    def sample_plan_with_scipy(self, x0: torch.Tensor, x1: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The optimal assignment of two batches of one size: x0 in its order, and the partners of its points."""
        if len(x0) != len(x1):
            raise ValueError(f"an assignment is between batches of one size, not {len(x0)} and {len(x1)}")
        i, j, _ = _transport.exact(**_ends(x0, x1)).plan.entries()
        return x0, x1[j[i.argsort()].to(x1.device)]

    def sample_trajectory(self, X: torch.Tensor) -> np.ndarray:
        """Paths through populations (n, times, *dim): from each point of the first, a partner is drawn at each next time.

        An array of NumPy of the same shape, as torchcfm has it.
        """
        at = np.arange(len(X))
        path = [X[:, 0]]
        for t in range(X.shape[1] - 1):
            plan = self._plan(X[:, t], X[:, t + 1])
            at = _given_rows(plan, at)[1]
            path.append(X[:, t + 1][torch.as_tensor(at, device=X.device)])
        return host(torch.stack(path, dim=1))


def _choose(i: np.ndarray, j: np.ndarray, mass: np.ndarray, count: int, replace: bool) -> tuple[np.ndarray, np.ndarray]:
    chosen = np.random.choice(len(mass), p=mass / mass.sum(), size=count, replace=replace)
    return i[chosen], j[chosen]


def _given_rows(plan: _transport.Plan, i: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An independent partner for each of the rows `i`, which may repeat: all rows are drawn for every repetition."""
    j = np.empty_like(i)
    order = np.argsort(i, kind="stable")
    ranks = np.arange(len(i)) - np.searchsorted(i[order], i[order])
    for rank in range(ranks.max() + 1):
        at = order[ranks == rank]
        j[at] = host(plan.sample(seed=int(np.random.randint(2**32, dtype=np.uint64))))[i[at]]
    return i, j


def wasserstein(
    x0: torch.Tensor,
    x1: torch.Tensor,
    method: Optional[str] = None,
    reg: float = 0.05,
    power: int = 2,
    **kwargs: Any,
) -> float:
    """W₁ (`power` 1) or W₂ (2) between two batches; with `method` ``sinkhorn`` that of the entropic plan at ε = `reg`.

    >>> import torch
    >>> wasserstein(torch.zeros(2, 2), torch.tensor([[3.0, 4.0], [3.0, 4.0]]))
    5.0
    """
    if power not in (1, 2):
        raise ValueError(f"power = {power}; take 1 or 2")
    if method not in (None, "exact", "sinkhorn"):
        raise ValueError(f'there is no method "{method}"; take "exact" or "sinkhorn"')
    ends = _ends(x0, x1, power)
    if method == "sinkhorn":
        eps = reg if power == 1 else 0.5 * reg
        found = _transport.sinkhorn(**ends, eps=eps, tol=1e-9, max_iter=10_000_000, precision="f64")
    else:
        found = _transport.exact(**ends)
    return found.cost if power == 1 else math.sqrt(2 * found.cost)
