"""Optimal transport between two clouds of points."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Mapping, Optional, Tuple, TypedDict, Union

import numpy as np

from brenier import _brenier
from brenier._arrays import Array, Place, host, place_of
from brenier._checkpoint import Path, kept
from brenier._progress import Progress, telling
from brenier._warnings import CollapseWarning, ConvergenceWarning, say

if TYPE_CHECKING:
    from typing_extensions import Unpack

_ENTROPY = 0.1  # of couple, as on the command line

Cost = Union[str, Array]
"""A name, or all costs, n × m."""


def _lines(title: str, values: Mapping[str, object]) -> str:
    """A title, and the values that there are, a line each."""
    width = max(map(len, values))

    def shown(value: object) -> str:
        return f"{value:.6g}" if isinstance(value, float) else str(value)

    rows = (f"    {name:<{width}}  {shown(value)}" for name, value in values.items() if value is not None)
    return "\n".join([title, *rows])


class Plan:
    """A plan P, n × m, that is never written out unless asked for: what it does to values, its draws and its likeliest pairs.

    ``plan.T`` is the plan back. Arrays come back in the library, and on the device, of the source points.
    """

    def __init__(self, found: _brenier.Found, place: Place, back: bool = False) -> None:
        self._found, self._place, self._back = found, place, back

    @property
    def shape(self) -> Tuple[int, int]:
        """(n, m)."""
        n, m = self._found.lengths()
        return (m, n) if self._back else (n, m)

    @property
    def T(self) -> Plan:
        """The plan back, Pᵀ."""
        return Plan(self._found, self._place, not self._back)

    def __repr__(self) -> str:
        return f"<Plan of {self.shape[0]} x {self.shape[1]} points>"

    def __matmul__(self, values: Array) -> Array:
        return self.apply(values)

    def apply(self, values: Array) -> Array:
        """P v: Σ_j P_ij v_j for values v, m or m × p.

        >>> import numpy as np, brenier
        >>> plan = brenier.exact(np.array([[0.0], [1.0]]), np.array([[2.0], [3.0]])).plan
        >>> plan.apply(np.array([10.0, 20.0]))
        array([ 5., 10.])
        """
        return self._place(self._found.apply(values, self._back))

    def pull(self, values: Array) -> Array:
        """E[v | x_i] = Σ_j P_ij v_j / Σ_j P_ij for values v of the target, m or m × p: one-hot rows carry labels.

        >>> import numpy as np, brenier
        >>> plan = brenier.exact(np.array([[0.0], [1.0]]), np.array([[2.0], [3.0]])).plan
        >>> plan.pull(np.array([10.0, 20.0]))
        array([10., 20.])
        """
        return self._place(self._found.pull(values, self._back))

    def push(self, mass: Array) -> Array:
        """Where `mass` on the source goes: Σ_i mass_i P_ij / Σ_k P_ik, of length m. No mass is lost."""
        source = np.ones(self.shape[1])
        rows = np.asarray(self._found.apply(source, self._back), dtype=np.float64)
        shares = np.divide(host(mass), rows, out=np.zeros_like(rows), where=rows > 0)
        return self._place(self._found.apply(shares, not self._back))

    def matrix(self) -> Array:
        """All P_ij, n × m: for small clouds."""
        dense = self._found.matrix()
        return self._place(dense.T.copy() if self._back else dense)

    def entropy(self) -> Optional[float]:
        """−Σ P log P, in nats; None of a plan of low rank, which is not written out."""
        _, (*_, told, _, _) = self._found.numbers()
        entropy: Optional[float] = told
        if entropy is None and self._found.is_sparse():
            mass = np.asarray(self._found.entries()[2], dtype=np.float64)
            entropy = float(-(mass * np.log(mass)).sum())
        return entropy

    def entries(self) -> Tuple[Array, Array, Array]:
        """The entries P_ij > 0 of an exact plan, at most n + m − 1: (i, j, mass)."""
        i, j, mass = map(self._place, self._found.entries())
        return (j, i, mass) if self._back else (i, j, mass)

    def top_k(self, k: int) -> Tuple[Array, Array]:
        """The `k` likeliest partners of each point of the source, most likely first: (index, probability), n × k."""
        self._only_forth("top_k")
        index, probability = map(self._place, self._found.top_k(k))
        return index, probability

    def sample(self, seed: int = 0) -> Array:
        """A partner for each point of the source, drawn from P_ij / Σ_k P_ik: indices of the target, of length n."""
        self._only_forth("sample")
        return self._place(self._found.sample(seed))

    def pairs(self, n: int, seed: int = 0) -> Tuple[Array, Array]:
        """`n` pairs drawn from the plan, in random order: indices (i, j). Each source comes n times its mass, up to less than one."""
        i, j = map(self._place, self._found.pairs(n, seed))
        return (j, i) if self._back else (i, j)

    def _only_forth(self, name: str) -> None:
        if self._back:
            raise ValueError(f"{name} is of the plan forth; solve with x and y exchanged")


@dataclass(frozen=True, repr=False, eq=False)
class Transport:
    """What a solver found between two clouds. Costs are in units of c, which is ½|x − y|² unless another was given.

    Points are used where they lie: do not write into x and y as long as the plan is still asked.
    """

    kind: str
    """What `w2_squared` was computed from: ``entropic``, ``debiased``, ``exact``, ``upper_bound`` or ``low_rank``."""
    eps: float
    """ε of OT_ε = min ⟨P, c⟩ + ε KL(P ‖ a⊗b); 0 without regularisation."""
    cost: float
    """⟨P, c⟩."""
    w2_squared: Optional[float]
    """W₂², as `kind` says, in units of |x − y|²; None under another cost."""
    value: Optional[float]
    """OT_ε, or the cost itself without regularisation."""
    dual: Optional[float]
    """The value of the dual problem."""
    divergence: Optional[float]
    """S_ε(a, b) = OT_ε(a, b) − ½ OT_ε(a, a) − ½ OT_ε(b, b), where it was asked for."""
    iterations: int
    """Iterations made."""
    converged: bool
    """Whether there is nothing left to gain."""
    verdict: str
    """Why, or why not."""
    marginal_error: float
    """The L1 error of the marginals."""
    mass: Optional[float]
    """|P| of an entropic plan."""
    entropy: Optional[float]
    """−Σ P log P of an entropic plan, in nats."""
    variance_kept: Optional[float]
    """The share of the target's variance that an entropic map keeps."""
    precision: str
    """The arithmetic: ``f32`` or ``f64``."""
    plan: Plan = field(compare=False)
    """The plan."""
    _found: Any = field(compare=False)
    _place: Place = field(compare=False)

    @classmethod
    def _of(cls, found: _brenier.Found, place: Place, counted: bool = False) -> Transport:
        first, then = found.numbers()
        of_all: tuple[Any, ...] = (*first, *then, Plan(found, place), found, place)
        result = cls(*of_all)
        if not (result.converged or counted):
            words = f"not converged after {result.iterations} iterations, marginal error {result.marginal_error:.2e}: {result.verdict}"
            say(ConvergenceWarning, words)
        if result.variance_kept is not None and result.variance_kept < _brenier.MAP_COLLAPSED and result.w2_squared is not None:
            kept = 100 * result.variance_kept
            say(CollapseWarning, f"the map keeps {kept:.1f} % of the target's variance, so it has collapsed; use a smaller eps")
        return result

    @cached_property
    def _potentials(self) -> Optional[Tuple[Array, Array]]:
        potentials = self._found.potentials()
        return None if potentials is None else (self._place(potentials[0]), self._place(potentials[1]))

    @property
    def f(self) -> Array:
        """The potential of the source, of length n: P_ij = a_i b_j exp((f_i + g_j − c_ij)/ε); None of a plan of low rank."""
        return self._potentials[0] if self._potentials else None

    @property
    def g(self) -> Array:
        """The potential of the target, of length m; None of a plan of low rank."""
        return self._potentials[1] if self._potentials else None

    def map(self, points: Optional[Array] = None) -> Array:
        """Where the plan sends its source points on average, T(x_i) = Σ_j P_ij y_j / Σ_j P_ij, n × d; or where an entropic plan sends
        other `points`: the entropic map (Pooladian & Niles-Weed 2021, eq. 8).

        >>> import numpy as np, brenier
        >>> x = np.random.default_rng(0).normal(size=(500, 2))
        >>> result = brenier.sinkhorn(x, x + 3.0, eps=0.01)
        >>> bool(np.abs(result.map() - x - 3.0).max() < 0.5)
        True
        """
        return self._place(self._found.map(points))

    def __repr__(self) -> str:
        names = ("kind", "eps", "cost", "w2_squared", "value", "divergence", "iterations", "marginal_error", "verdict")
        values = {name: getattr(self, name) for name in names}
        return _lines(f"Transport between {self.plan.shape[0]} and {self.plan.shape[1]} points", values)


@dataclass(frozen=True, repr=False, eq=False)
class Divergence:
    """The Sinkhorn divergence S_ε(a, b) = OT_ε(a, b) − ½ OT_ε(a, a) − ½ OT_ε(b, b) and its derivatives.

    S_ε ≥ 0, 0 only between equal measures, and → ½W₂² as ε → 0 (Genevay, Peyré, Cuturi 2018).
    """

    value: float
    """S_ε in units of ½|x − y|²."""
    eps: float
    """ε."""
    gradient_x: Array
    """∂S_ε/∂x, n × d."""
    gradient_a: Array
    """∂S_ε/∂a, n, up to a constant where masses are held."""
    gradient_y: Array
    """∂S_ε/∂y, m × d."""
    gradient_b: Array
    """∂S_ε/∂b, m."""

    def __repr__(self) -> str:
        return _lines("Sinkhorn divergence", {"value": self.value, "eps": self.eps})

    def __float__(self) -> float:
        return self.value


class Solver(TypedDict, total=False):
    """The keywords of the entropic solver; :func:`sinkhorn` tells what they mean."""

    eps: Optional[float]
    blur: Optional[float]
    entropy: Optional[float]
    cost: Cost
    reach: Optional[float]
    reach_source: Optional[float]
    reach_target: Optional[float]
    tau_source: Optional[float]
    tau_target: Optional[float]
    debias: bool
    start: Optional[Tuple[Array, Array]]
    tol: float
    max_iter: int
    plain: bool
    convention: str
    precision: Optional[str]
    device: str
    seed: int


_USUAL: dict[str, Any] = dict.fromkeys(Solver.__annotations__)
_USUAL.update(cost="half-sq-euclidean", debias=False, tol=1e-3, max_iter=10_000, plain=False, convention="brenier", device="auto", seed=0)


def _asked(function: str, asked: Any) -> dict[str, Any]:
    """The keywords of the solver, each there."""
    unknown = next((name for name in asked if name not in _USUAL), None)
    if unknown is not None:
        alike = [name for name in _USUAL if name in unknown or unknown in name]
        nearest = alike or difflib.get_close_matches(unknown, _USUAL, 1)
        also = f"; did you mean {nearest[0]}?" if nearest else ""
        raise TypeError(f"{function}() has no keyword {unknown}{also}")
    return {**_USUAL, **asked, "checkpoint": None}


def sinkhorn(
    x: Optional[Array],
    y: Optional[Array],
    a: Optional[Array] = None,
    b: Optional[Array] = None,
    *,
    progress: Progress = None,
    checkpoint: Path = None,
    **asked: Unpack[Solver],
) -> Transport:
    """The entropic plan between Σ a_i δ_{x_i} and Σ b_j δ_{y_j}: OT_ε(a, b) = min ⟨P, c⟩ + ε KL(P ‖ a⊗b), by Sinkhorn's iteration in
    the log domain, in memory of O(n + m).

    Parameters
    ----------
    x, y : arrays, n × d and m × d
        Points, of NumPy, PyTorch, JAX or CuPy, f32 or f64; they are not copied. Both None where `cost` is an array.
    a, b : arrays of length n and m, optional
        Weights, scaled to add up to one; uniform unless given.
    eps : float, optional
        ε in units of c; 0.05 times the mean cost within the clouds unless given.
    blur : float, optional
        ε as a length: ε = blur².
    entropy : float, optional
        ε by what it does: the renormalised entropy of the plan, 0 of a map and 1 of independent pairs (Klein et al. 2025).
    cost : str or array, optional
        ``half-sq-euclidean`` (½|x − y|²), ``euclidean``, ``lp:P``, ``cosine``, or all costs, n × m.
    reach, reach_source, reach_target : float, optional
        Free marginals: mass that would move farther than about this is destroyed and created instead, at ρ KL with ρ = reach².
    tau_source, tau_target : float, optional
        The same as OTT has it, ρ/(ρ + ε): 1 holds the marginal.
    debias : bool
        The Sinkhorn divergence as well.
    start : (f, g), optional
        Potentials of a problem nearby.
    tol, max_iter : float, int
        The L1 error of the marginals at which to stop (1e-3), and most iterations (10,000); a `tol` of 0 makes exactly `max_iter`.
    plain : bool
        Neither annealing, nor acceleration, nor a start from moments.
    convention : str
        Whose reading of `eps`, `blur` and `reach`: ``brenier`` and ``geomloss`` in units of ½|x − y|², ``pot``, ``ott`` and ``flash``
        of |x − y|².
    precision : str, optional
        ``f32`` or ``f64``; that of the arrays unless given.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
    progress : bool or callable, optional
        True for a bar; a function is called with (stage, iteration, of, error).
    checkpoint : path, optional
        A file that keeps the state when Ctrl-C, or an exception of `progress`, stops the work; the same call goes on from there.

    Returns
    -------
    Transport

    Raises
    ------
    ValueError
        For numbers that make no problem; the sentence says what, where and the remedy.
    TypeError
        For what is not an array of real numbers.
    MemoryError
        Where memory does not suffice.

    Warns
    -----
    ConvergenceWarning
        Where `max_iter` ends it.

    Examples
    --------
    >>> import numpy as np, brenier
    >>> x = np.random.default_rng(0).normal(size=(1000, 2))
    >>> result = brenier.sinkhorn(x, x + 1.0, eps=0.02)
    >>> abs(result.w2_squared - 2.0) < 0.1  # W₂² of a shift by (1, 1)
    True
    """
    every = _asked("sinkhorn", asked)
    every["checkpoint"] = kept(checkpoint, "sinkhorn", {"x": x, "y": y, "a": a, "b": b, **every})
    place = place_of(x, y, None if isinstance(every["cost"], str) else every["cost"])
    with telling(progress, "sinkhorn") as every["progress"]:
        found = _brenier.sinkhorn((x, y, a, b), every)
    # A tolerance of 0 asks for a number of iterations, and for nothing else.
    return Transport._of(found, place, every["tol"] == 0)


def divergence(
    x: Array,
    y: Array,
    a: Optional[Array] = None,
    b: Optional[Array] = None,
    *,
    progress: Progress = None,
    **asked: Unpack[Solver],
) -> Divergence:
    """The Sinkhorn divergence under c = ½|x − y|² and its gradients in x, a, y and b, at about the price of its value.

    The keywords are those of :func:`sinkhorn`, except `debias` and `start`.

    >>> import numpy as np, brenier
    >>> x = np.random.default_rng(0).normal(size=(300, 2))
    >>> shifted = brenier.divergence(x, x + 2.0, eps=0.1)
    >>> abs(shifted.value - 4.0) < 0.05  # ½|shift|²
    True
    >>> bool(np.allclose(300 * shifted.gradient_x, -2.0, atol=0.1))  # each point, of mass 1/300, wants to follow
    True
    """
    every = _asked("divergence", asked)
    with telling(progress, "divergence") as every["progress"]:
        value, eps, gradients = _brenier.divergence((x, y, a, b), every)
    return Divergence(value, eps, *map(place_of(x), gradients))


@dataclass(frozen=True, repr=False, eq=False)
class Pairs:
    """Pairs for flow-matching training, drawn from a plan, in random order."""

    source: Array
    """Index of each pair's x, of length N."""
    target: Array
    """Index of each pair's y."""
    label: Optional[Array]
    """The class of each pair, where labels were given."""
    eps: float
    """ε of the plan."""
    converged: bool
    """Whether the plan was solved to the tolerance."""
    _ends: Tuple[Array, Array] = field(compare=False)

    @property
    def x0(self) -> Array:
        """Where each pair starts, N × d."""
        return self._ends[0][self.source]

    @property
    def x1(self) -> Array:
        """Where each pair ends, N × d."""
        return self._ends[1][self.target]

    def __len__(self) -> int:
        return len(self.source)

    def __repr__(self) -> str:
        return _lines(f"{len(self)} pairs", {"eps": self.eps, "converged": self.converged})


def couple(
    x: Array,
    y: Array,
    a: Optional[Array] = None,
    b: Optional[Array] = None,
    *,
    n: Optional[int] = None,
    labels: Optional[Array] = None,
    source_labels: Optional[Array] = None,
    without_replacement: bool = False,
    progress: Progress = None,
    **asked: Unpack[Solver],
) -> Pairs:
    """Pairs (x_i, y_j) drawn from the entropic plan, for training a flow on straight paths.

    Each x is used N a_i times, up to less than one, so the source keeps its law; with `labels` in every class, whose pairs come from a
    plan of their own: pairs that ignore labels make conditional models worse than independent ones (Cheng, Schwing 2025).

    Parameters
    ----------
    x, y, a, b
        As for :func:`sinkhorn`.
    n : int, optional
        Pairs; one for each x unless given.
    labels, source_labels : arrays of whole numbers, optional
        Classes of y: each class is coupled with all of x, or with its own where `source_labels` are given.
    without_replacement : bool
        Use each y at most its share of times, rounded up.
    entropy : float
        The renormalised entropy of the plan, 0.1 unless this, `eps` or `blur` is given.

    The other keywords are those of :func:`sinkhorn`, except `debias` and `start`.

    >>> import numpy as np, brenier
    >>> x = np.random.default_rng(0).normal(size=(500, 2))
    >>> pairs = brenier.couple(x, x + 3.0, eps=0.01)
    >>> pairs.x0.shape, bool(np.abs(pairs.x1 - pairs.x0 - 3.0).mean() < 0.3)
    ((500, 2), True)
    """
    every = _asked("couple", asked)
    place = place_of(x, y)
    paired = {
        "n": n,
        "labels": labels,
        "source_labels": source_labels,
        "without_replacement": without_replacement,
        "usual_entropy": _ENTROPY,
    }
    with telling(progress, "couple") as every["progress"]:
        source, target, label, eps, converged = _brenier.couple((x, y, a, b), every, paired)
    if not converged:
        say(ConvergenceWarning, "the plan that pairs are drawn from is not converged; raise max_iter, or take a larger eps")
    return Pairs(place(source), place(target), None if label is None else place(label), eps, converged, (x, y))


class Geodesic:
    """The displacement interpolation ρ_t = ((1−t) Id + tT)_# ρ (McCann 1997): each particle moves straight, at its own constant speed."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        """The plan whose map it follows."""

    def at(self, t: float) -> Array:
        """The points (1−t)x + tT(x), n × d; t is 0 at the source and 1 at the target."""
        return self.transport._place(self.transport._found.displaced(_time(t)))

    def __repr__(self) -> str:
        return f"<Geodesic along {self.transport.plan!r}>"


class Bridge:
    """The Schrödinger bridge: pairs of the entropic plan, joined by Brownian bridges of variance ε t(1−t) (Léonard 2014, theorem 2.4)."""

    def __init__(self, transport: Transport, seed: int) -> None:
        self.transport = transport
        """The plan of its ends."""
        self._seed = seed

    def at(self, t: float) -> Array:
        """A sample of its law at time t for each point of the source, n × d: exact at every t."""
        return self.transport._place(self.transport._found.bridged(_time(t), self._seed))

    def __repr__(self) -> str:
        return f"<Bridge at eps {self.transport.eps:.4g} along {self.transport.plan!r}>"


def _time(t: float) -> float:
    if not 0.0 <= t <= 1.0:
        raise ValueError(f"t = {t}; a path has times from 0, the source, to 1, the target")
    return float(t)


def geodesic(
    x: Array, y: Array, a: Optional[Array] = None, b: Optional[Array] = None, *, progress: Progress = None, **asked: Unpack[Solver]
) -> Geodesic:
    """The Wasserstein geodesic between two clouds, along the barycentric map of their entropic plan; keywords as for :func:`sinkhorn`.

    >>> import numpy as np, brenier
    >>> x = np.random.default_rng(0).normal(size=(300, 2))
    >>> half = brenier.geodesic(x, x + 2.0, eps=0.01).at(0.5)
    >>> bool(np.abs(half - x - 1.0).mean() < 0.2)
    True
    """
    return Geodesic(sinkhorn(x, y, a, b, progress=progress, **asked))


def bridge(
    x: Array, y: Array, a: Optional[Array] = None, b: Optional[Array] = None, *, progress: Progress = None, **asked: Unpack[Solver]
) -> Bridge:
    """The Schrödinger bridge between two clouds at ε; keywords as for :func:`sinkhorn`, whose `seed` is that of the draws.

    >>> import numpy as np, brenier
    >>> x = np.zeros((4000, 1))
    >>> middle = brenier.bridge(x, x, eps=1.0).at(0.5)
    >>> abs(float(middle.var()) - 0.25) < 0.02  # ε t(1−t)
    True
    """
    return Bridge(sinkhorn(x, y, a, b, progress=progress, **asked), asked.get("seed", 0))


def exact(
    x: Optional[Array], y: Optional[Array], a: Optional[Array] = None, b: Optional[Array] = None, *, cost: Cost = "half-sq-euclidean"
) -> Transport:
    """The optimal plan itself, by network simplex, with a proof by the dual: at most 5,000 points a side, or under ½|x − y|² any number
    on a line. `cost` is a name or an array, as for :func:`sinkhorn`, whose numbers may be negative.

    >>> import numpy as np, brenier
    >>> brenier.exact(np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([[1.0, 1.0], [0.0, 1.0]])).w2_squared
    1.0
    """
    place = place_of(x, y, None if isinstance(cost, str) else cost)
    return Transport._of(_brenier.exact((x, y, a, b), cost), place)


def low_rank(
    x: Array,
    y: Array,
    a: Optional[Array] = None,
    b: Optional[Array] = None,
    *,
    rank: int,
    tol: float = 1e-4,
    max_iter: int = 10_000,
    seed: int = 0,
    progress: Progress = None,
) -> Transport:
    """A plan through `rank` stations, P = Q diag(1/g) Rᵀ: an upper bound of ½W₂², for many points in linear time.

    >>> import numpy as np, brenier
    >>> x = np.array([[0.0], [0.1], [5.0], [5.1]])
    >>> abs(brenier.low_rank(x, x + 1.0, rank=2).w2_squared - 1.0) < 0.02
    True
    """
    with telling(progress, "low rank") as tell:
        found = _brenier.low_rank((x, y, a, b), rank, (tol, max_iter), seed, tell)
    return Transport._of(found, place_of(x))
