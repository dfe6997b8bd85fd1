"""Functions of POT 0.9 by brenier: ``import brenier.pot as ot`` where ``ot.emd``, ``ot.emd2``, ``ot.sinkhorn`` or
``ot.sinkhorn2`` is called.

Arrays of NumPy, PyTorch, JAX and CuPy go in, and what comes back is of the same library. All is solved in double precision.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any, Callable, Optional, Union

import numpy as np

from brenier import _transport
from brenier._arrays import Array, host, place_of
from brenier._warnings import CollapseWarning, ConvergenceWarning

_METHODS = ("sinkhorn", "sinkhorn_log", "sinkhorn_stabilized")
_METHODS_OF_PLANS = (*_METHODS, "greenkhorn", "sinkhorn_epsilon_scaling")
_BY_POTENTIALS = ("sinkhorn_stabilized", "sinkhorn_epsilon_scaling")
"""Those whose warm start is reg times (log u, log v)."""


def _double(array: Array) -> np.ndarray:
    return host(array).astype(np.float64)


class MismatchError(ValueError, AssertionError):
    """Weights that do not fit the costs, or each other: a ValueError, and what POT raises."""


class _Histograms:
    """Weights and costs in NumPy, and the way back to where they came from: that of a, else of b, else of M, as POT has it."""

    def __init__(self, a: Array, b: Array, M: Array, check_masses: bool = True) -> None:
        self.given = a, b, M
        first = next(array for array in (a, b, M) if not isinstance(array, (list, tuple)) and len(array) or array is M)
        self._place = place_of(first)
        self._type = np.float32 if str(getattr(first, "dtype", "")).endswith("float32") else np.float64
        self.M = np.ascontiguousarray(_double(M))
        if self.M.ndim != 2:
            raise MismatchError(f"costs have shape {self.M.shape}; give n x m")
        n, m = self.M.shape
        self.a, self.b = (_double(w) if len(w) else np.full(count, 1 / count) for w, count in ((a, n), (b, m)))
        if self.a.shape != (n,) or self.b.shape[0] != m or self.b.ndim > 2:
            raise MismatchError(f"weights have shapes {self.a.shape} and {self.b.shape} for costs of shape {self.M.shape}")
        self.mass = self.a.sum()
        for of_b in self.b.sum(axis=0, keepdims=True).flat:
            if check_masses and not np.isclose(self.mass, of_b, rtol=0, atol=1.5e-6):
                raise MismatchError(f"the weights add up to {self.mass:.7g} and {of_b:.7g}; scale one")
        self.b = self.b * (self.mass / self.b.sum(axis=0))

    def targets(self) -> list[np.ndarray]:
        """The target, or each of several."""
        return [self.b] if self.b.ndim == 1 else list(self.b.T)

    def back(self, array: Union[np.ndarray, float]) -> Array:
        return self._place(np.asarray(array, dtype=self._type))

    def number(self, value: float, gradients: Callable[[], list[np.ndarray]]) -> Any:
        """`value`, as PyTorch with its gradients in a, b and M."""
        if type(first := self.back(value)).__module__.partition(".")[0] != "torch":
            return first[()]
        torch = sys.modules["torch"]
        inputs = [
            array
            for array in self.given
            if isinstance(array, torch.Tensor) and array.requires_grad and array.dtype.is_floating_point
        ]
        if not (inputs and torch.is_grad_enabled()):
            return first
        from brenier.torch import Valued

        found = [
            self._place(gradient)
            for gradient, array in zip(gradients(), self.given, strict=True)
            if any(array is i for i in inputs)
        ]
        return Valued.apply(lambda *_: (value, found), *inputs)


def emd(
    a: Array,
    b: Array,
    M: Array,
    numItermax: int = 100_000,
    log: bool = False,
    center_dual: bool = True,
    numThreads: Union[int, str] = 1,
    check_marginals: bool = True,
) -> Any:
    """The optimal plan of weights a (n), b (m; both uniform if empty) under costs M, n × m, by network simplex.

    At most 5,000 a side. With `log`, also {cost, u, v, warning, result_code}: u_i + v_j ≤ M_ij, with equality where the plan has
    mass. `numItermax` and `numThreads` are taken and not used, since the simplex always ends.

    >>> emd([0.5, 0.5], [0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]])
    array([[0.5, 0. ],
           [0. , 0.5]])
    """
    ends = _Histograms(a, b, M, check_marginals)
    plan, cost, u, v = _exact(ends, ends.b, center_dual)
    told = {"cost": cost, "u": ends.back(u), "v": ends.back(v), "warning": None, "result_code": 1}
    return (ends.back(plan), told) if log else ends.back(plan)


def emd2(
    a: Array,
    b: Array,
    M: Array,
    processes: int = 1,
    numItermax: int = 100_000,
    log: bool = False,
    return_matrix: bool = False,
    center_dual: bool = True,
    numThreads: Union[int, str] = 1,
    check_marginals: bool = True,
) -> Any:
    """The optimal cost ⟨P, M⟩ of :func:`emd`, in PyTorch differentiable in a, b and M; a list of costs for targets b, m × k.

    >>> float(emd2([0.5, 0.5], [0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]]))
    0.0
    """
    ends = _Histograms(a, b, M, check_marginals)
    results: list[Any] = []
    for target in ends.targets():
        plan, cost, u, v = _exact(ends, target, center_dual)
        value = ends.number(cost, lambda: [u - u.mean(), v - v.mean(), plan])
        told = {"u": ends.back(u), "v": ends.back(v), "warning": None, "result_code": 1}
        if return_matrix:
            told["G"] = ends.back(plan)
        results.append([value, told] if log or return_matrix else value)
    return results if ends.b.ndim == 2 else results[0]


def _exact(ends: _Histograms, b: np.ndarray, center: bool) -> tuple[np.ndarray, float, np.ndarray, np.ndarray]:
    found = _transport.exact(None, None, ends.a, b, cost=ends.M)
    plan, u, v = found.plan.matrix() * ends.mass, np.array(found.f), np.array(found.g)
    # Where there is no mass, no plan asks for more than what is feasible.
    for duals, weights, slack in ((u, ends.a, ends.M - v), (v, b, ends.M.T - u)):
        duals[weights == 0] = slack.min(axis=1)[weights == 0]
    if center:
        shift = (u @ ends.a - v @ b) / (2 * ends.mass)
        u, v = u - shift, v + shift
    return plan, float((plan * ends.M).sum()), u, v


def sinkhorn(
    a: Array,
    b: Array,
    M: Array,
    reg: float,
    method: str = "sinkhorn",
    numItermax: int = 1000,
    stopThr: float = 1e-9,
    verbose: bool = False,
    log: bool = False,
    warn: bool = True,
    warmstart: Optional[tuple[Array, Array]] = None,
    **kwargs: Any,
) -> Any:
    """The entropic plan diag(u) exp(−M/reg) diag(v) of weights a (n), b (m; both uniform if empty) under costs M, n × m; for
    targets b, m × k, the costs ⟨P, M⟩ of each.

    `method` takes POT's names, which are all served by brenier's solver in the log domain; `stopThr` is compared with the L1
    error of the marginals. With `log`, also {err, niter, u, v, log_u, log_v}, and for the stabilised methods {alpha, beta,
    warmstart}. A `warmstart` is (log u, log v), for ``sinkhorn_stabilized`` and ``sinkhorn_epsilon_scaling`` reg times as much.
    The plan is not differentiable; :func:`sinkhorn2` is.

    >>> sinkhorn([0.5, 0.5], [0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]], 1.0).round(6)
    array([[0.365529, 0.134471],
           [0.134471, 0.365529]])
    """
    ends = _Histograms(a, b, M)
    found, told = _entropic(ends, reg, _method(method, _METHODS_OF_PLANS), numItermax, stopThr, warn, warmstart)
    plan = ends.back(np.stack([(plan * ends.M).sum() for plan in found]) if ends.b.ndim == 2 else found[0])
    if any(getattr(array, "requires_grad", False) for array in ends.given):
        warnings.warn("gradients do not flow through a plan; take sinkhorn2, or brenier.torch.divergence", stacklevel=2)
    return (plan, told) if log else plan


def sinkhorn2(
    a: Array,
    b: Array,
    M: Array,
    reg: float,
    method: str = "sinkhorn",
    numItermax: int = 1000,
    stopThr: float = 1e-9,
    verbose: bool = False,
    log: bool = False,
    warn: bool = False,
    warmstart: Optional[tuple[Array, Array]] = None,
    **kwargs: Any,
) -> Any:
    """The cost ⟨P, M⟩ of the plan of :func:`sinkhorn`, without its entropy, in PyTorch differentiable in a, b and M; an array of
    costs for targets b, m × k.

    >>> round(float(sinkhorn2([0.5, 0.5], [0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]], 1.0)), 6)
    0.268941
    """
    ends = _Histograms(a, b, M)
    found, told = _entropic(ends, reg, _method(method, _METHODS), numItermax, stopThr, warn, warmstart)
    costs = [(plan * ends.M).sum() for plan in found]
    if ends.b.ndim == 2:
        if any(getattr(array, "requires_grad", False) for array in ends.given):
            raise NotImplementedError("gradients are of one target at a time; call sinkhorn2 for each column of b")
        value = ends.back(np.stack(costs))
    else:
        value = ends.number(costs[0], lambda: _gradients(found[0], ends.M, reg))
    return (value, told) if log else value


def _method(method: str, known: tuple[str, ...]) -> str:
    if method.lower() not in known:
        raise ValueError(f'there is no method "{method}" here; take {", ".join(known)}')
    return method.lower()


def _entropic(
    ends: _Histograms, reg: float, method: str, most: int, tol: float, warn: bool, warmstart: Any
) -> tuple[list[np.ndarray], dict[str, Any]]:
    """The plan of each target, and what POT tells of them."""
    unit = reg if method in _BY_POTENTIALS else 1.0
    with np.errstate(divide="ignore"):
        log_a, log_b = np.log(ends.a / ends.mass), [np.log(b / ends.mass) for b in ends.targets()]
    plans, logs, errors, iterations = [], [], [], 0
    for k, b in enumerate(ends.targets()):
        start = None
        if warmstart is not None:
            given = [_double(values) / unit for values in (warmstart[k] if ends.b.ndim == 2 else warmstart)]
            f, g = (
                reg * np.where(np.isfinite(share), log - share, 0.0) for log, share in zip(given, (log_a, log_b[k]), strict=True)
            )
            start = f, g
        with warnings.catch_warnings():
            if not warn:
                warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.simplefilter("ignore", CollapseWarning)
            found = _transport.sinkhorn(
                None, None, ends.a, b, cost=ends.M, eps=reg, start=start, tol=max(tol, np.finfo(float).tiny), max_iter=most
            )
        logs.append((log_a + np.asarray(found.f) / reg, log_b[k] + np.asarray(found.g) / reg + np.log(ends.mass)))
        plans.append(found.plan.matrix() * ends.mass)
        errors.append(found.marginal_error)
        iterations = max(iterations, found.iterations)
    log_u, log_v = (np.stack(sides, axis=1) if ends.b.ndim == 2 else sides[0] for sides in zip(*logs, strict=True))
    told: dict[str, Any] = {"err": errors, "niter": iterations, "n_iter": iterations}
    with np.errstate(over="ignore"):
        told |= {"log_u": log_u, "log_v": log_v, "u": np.exp(log_u), "v": np.exp(log_v)}
    if method in _BY_POTENTIALS:
        told |= {"logu": log_u, "logv": log_v, "alpha": reg * log_u, "beta": reg * log_v}
    told = {name: value if name in ("err", "niter", "n_iter") else ends.back(value) for name, value in told.items()}
    if "alpha" in told:
        told["warmstart"] = told["alpha"], told["beta"]
    return plans, told


def _gradients(plan: np.ndarray, M: np.ndarray, reg: float) -> list[np.ndarray]:
    """The gradients of ⟨P, M⟩ in a, b and M for P = diag(u) exp(−M/reg) diag(v), by the implicit function theorem.

    With λ, μ that solve diag(P1) λ + P μ = (P∘M)1 and Pᵀλ + diag(Pᵀ1) μ = (P∘M)ᵀ1 they are λ, μ and P ∘ (1 + (λ ⊕ μ − M)/reg).
    """
    rows, columns = plan.sum(axis=1), plan.sum(axis=0)
    costs = plan * M
    at_columns = np.divide(plan, columns, out=np.zeros_like(plan), where=columns > 0)
    schur = np.diag(rows) - at_columns @ plan.T + np.outer(rows, rows)  # the last, for the constant that λ ⊕ −λ leaves free
    schur += np.diag(np.where(rows > 0, 0.0, 1.0))
    of_rows = np.linalg.solve(schur, costs.sum(axis=1) - at_columns @ costs.sum(axis=0))
    left = costs.sum(axis=0) - plan.T @ of_rows
    of_columns = np.divide(left, columns, out=np.zeros_like(left), where=columns > 0)
    return [of_rows, of_columns, plan * (1 + (of_rows[:, None] + of_columns - M) / reg)]
