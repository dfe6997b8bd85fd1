"""The Sinkhorn losses of GeomLoss 0.3 by brenier: ``from brenier.geomloss import SamplesLoss`` and nothing else changes.

Solved until the marginals hold, where GeomLoss stops at the end of its annealing: values are those that GeomLoss has with a
`scaling` near one, at a `blur` far below the clouds' size several per cent more than with its usual 0.5.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, Callable, Optional, Union

import torch

from brenier import _transport
from brenier._warnings import CollapseWarning
from brenier.torch import Valued

_TOL = 1e-5
"""The L1 error of the marginals: gradients are as exact, relative to the clouds' size."""


class SamplesLoss(torch.nn.Module):  # type: ignore[misc,unused-ignore]
    """The Sinkhorn divergence between weighted clouds (Feydy et al. 2019), differentiable once in points and weights.

    Parameters
    ----------
    loss : str
        ``sinkhorn``; brenier has no losses of kernels, and says so.
    p : int
        The cost: |x − y| for 1, which writes out the costs, and ½|x − y|² for 2, in memory of O(n + m).
    blur : float
        ε = blur^p.
    reach : float, optional
        Free marginals, at ρ = reach^p, for `p` of 2 with `debias`, and clouds of mass one.
    cost : callable, optional
        Costs (B, N, M) of points (B, N, D) and (B, M, D), in torch, in place of those of `p`; ε is still blur^p.
    debias : bool
        S_ε, or with False OT_ε.
    potentials : bool
        Return the potentials (F, G), whose means are the loss, instead of the loss.
    diameter, scaling, truncate, kernel, cluster_scale, verbose, backend
        Taken and not used: brenier chooses its annealing and its kernels by itself.
    """

    def __init__(
        self,
        loss: str = "sinkhorn",
        p: int = 2,
        blur: float = 0.05,
        reach: Optional[float] = None,
        diameter: Optional[float] = None,
        scaling: float = 0.5,
        truncate: Optional[float] = 5,
        cost: Optional[Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = None,
        kernel: Any = None,
        cluster_scale: Optional[float] = None,
        debias: bool = True,
        potentials: bool = False,
        verbose: bool = False,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        if loss in ("hausdorff", "energy", "gaussian", "laplacian"):
            raise NotImplementedError(f'brenier has no loss "{loss}", which is one of kernels; it has "sinkhorn"')
        if loss != "sinkhorn":
            raise ValueError(f'there is no loss "{loss}"; take "sinkhorn"')
        if p not in (1, 2):
            raise ValueError(f"p = {p}; take 1 or 2, or give a cost")
        if isinstance(cost, str):
            raise NotImplementedError("costs as formulas of KeOps are not read; give a function of two tensors")
        self.loss, self.p, self.blur, self.reach, self.cost = loss, p, blur, reach, cost
        self.debias, self.potentials = debias, potentials
        self._is_half_squared = cost is None and p == 2
        if reach is not None and not (self._is_half_squared and debias and not potentials):
            raise NotImplementedError("a reach is served with p=2, debias=True and potentials=False")

    def forward(self, *args: torch.Tensor) -> Union[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """The loss of (x, y) or of (a, x, b, y): points (N, D), or batches (B, N, D) for B losses."""
        if len(args) == 6:
            raise NotImplementedError("labels of clusters are not used; give (a, x, b, y)")
        if len(args) not in (2, 4):
            raise ValueError(f"{len(args)} arguments; give (x, y) or (a, x, b, y)")
        x, y = args if len(args) == 2 else (args[1], args[3])
        if x.dim() not in (2, 3) or x.dim() != y.dim() or x.shape[-1] != y.shape[-1] or x.shape[:-2] != y.shape[:-2]:
            raise ValueError(
                f"points have shapes {tuple(x.shape)} and {tuple(y.shape)}; give (N, D) and (M, D), or (B, N, D), (B, M, D)"
            )
        if len(args) == 2:
            a, b = (torch.full_like(points[..., 0], 1 / points.shape[-2]) for points in (x, y))
        else:
            a, b = args[0], args[2]
            for weights, points in ((a, x), (b, y)):
                if weights.numel() != points[..., 0].numel() or weights.shape[0] != points.shape[0]:
                    raise ValueError(f"weights have shape {tuple(weights.shape)} for points of shape {tuple(points.shape)}")
        # Weights of (N, 1) are weights too.
        ends = a.reshape(x.shape[:-1]), x, b.reshape(y.shape[:-1]), y
        losses = [self._loss(*one) for one in zip(*ends, strict=True)] if x.dim() == 3 else [self._loss(*ends)]
        if not self.potentials:
            return torch.stack(losses) if x.dim() == 3 else losses[0]
        f, g = (torch.stack(values) if x.dim() == 3 else values[0] for values in zip(*losses, strict=True))
        return f.reshape(a.shape), g.reshape(b.shape)

    def _loss(self, a: torch.Tensor, x: torch.Tensor, b: torch.Tensor, y: torch.Tensor) -> Any:
        mass, other = a.sum(), b.sum()
        if self.reach is not None:
            if not torch.allclose(torch.stack([mass, other]), torch.ones_like(mass), rtol=1e-4):
                raise NotImplementedError(
                    f"weights add up to {mass:.6g} and {other:.6g}; with a reach, clouds of mass one are served"
                )
            return Valued.apply(self._divergence, x, y, a, b)
        if not torch.isclose(mass, other, rtol=1e-4):
            raise ValueError(f"weights add up to {mass:.6g} and {other:.6g}, and without a reach no mass is created; scale one")
        a, b = a / mass, b / other
        if self.potentials:
            with torch.no_grad():
                return self._potentials(a, x, b, y, mass)
        if self._is_half_squared and self.debias:
            return mass * Valued.apply(self._divergence, x, y, a, b)
        if self._is_half_squared:
            value = Valued.apply(self._biased, x, y, a, b)
        else:
            value = self._of_costs(a, x, b, y)
            if self.debias:
                value = value - 0.5 * (self._of_costs(a, x, a, x) + self._of_costs(b, y, b, y))
        return mass * (value if self.debias else value - self.blur**self.p * mass.log())

    def _asked(self) -> dict[str, Any]:
        return {"eps": self.blur**self.p, "reach": self.reach, "tol": _TOL}

    def _plan(self, *ends: torch.Tensor) -> _transport.Transport:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CollapseWarning)  # of its map, which nobody asked for
            return _transport.sinkhorn(*ends, **self._asked())

    def _divergence(self, *ends: torch.Tensor) -> tuple[float, list[torch.Tensor]]:
        found = _transport.divergence(*ends, **self._asked())
        return found.value, [found.gradient_x, found.gradient_y, found.gradient_a, found.gradient_b]

    def _biased(self, x: torch.Tensor, y: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> tuple[float, list[torch.Tensor]]:
        found = self._plan(x, y, a, b)
        plan = found.plan
        rows, columns = plan.apply(torch.ones_like(b)), plan.T.apply(torch.ones_like(a))
        at_x, at_y = rows[:, None] * x - plan.apply(y), columns[:, None] * y - plan.T.apply(x)  # Σ_j P_ij (x_i − y_j)
        return _value(found), [at_x, at_y, found.f, found.g]

    def _of_costs(self, a: torch.Tensor, x: torch.Tensor, b: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """OT_ε under costs that torch computes, and differentiates: ∂OT_ε/∂c = P."""

        def solve(costs: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> tuple[float, list[torch.Tensor]]:
            found = _transport.sinkhorn(None, None, a, b, cost=costs, **self._asked())
            return _value(found), [found.plan.matrix(), found.f, found.g]

        return Valued.apply(solve, self._costs(x, y), a, b)

    def _costs(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if self.cost is not None:
            return self.cost(x[None], y[None])[0]
        return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")

    def _potentials(self, a: torch.Tensor, x: torch.Tensor, b: torch.Tensor, y: torch.Tensor, mass: torch.Tensor) -> Any:
        def of(*ends: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            a, x, b, y = ends
            if self._is_half_squared:
                found = self._plan(x, y, a, b)
            else:
                found = _transport.sinkhorn(None, None, a, b, cost=self._costs(x, y), **self._asked())
            return found.f, found.g

        f, g = of(a, x, b, y)
        if self.debias:
            own = [sum(of(*ends, *ends)) / 2 for ends in ((a, x), (b, y))]
            return f - own[0], g - own[1]
        shift = 0.5 * self.blur**self.p * math.log(mass)
        return f - shift, g - shift


def _value(found: _transport.Transport) -> float:
    if found.value is None:
        raise ValueError("the plan has no value")
    return found.value
