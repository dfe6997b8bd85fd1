"""Laws, the gradient flow towards them, barycenters, and the ruler."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Callable, Optional, Sequence, Tuple, Union

import numpy as np

from brenier import _brenier
from brenier._arrays import Array, place_of
from brenier._checkpoint import Path, kept
from brenier._progress import Progress, telling
from brenier._transport import _lines
from brenier._warnings import BrenierWarning, ConvergenceWarning, say


class Law:
    """A law that can be drawn from: by name, or a mixture of Gaussians (:func:`mixture`).

    >>> import brenier
    >>> law = brenier.Law("8gaussians")
    >>> law.dim, law.sample(100).shape
    (2, (100, 2))
    """

    def __init__(self, name: str, dim: Optional[int] = None) -> None:
        self._law, self._name = _brenier.Law(name, dim), name

    @property
    def dim(self) -> int:
        """Dimension d."""
        return self._law.dim

    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """`n` independent draws, n × d: those of ``brenier generate`` under the same seed."""
        return self._law.sample(n, seed)

    def log_density(self, x: Array) -> Array:
        """log p at each of the points x, n × d, in nats."""
        return place_of(x)(self._law.log_density(x)[0])

    def score(self, x: Array) -> Array:
        """∇log p at each of the points x, n × d."""
        return place_of(x)(self._law.log_density(x)[1])

    def __repr__(self) -> str:
        return f"<Law {self._name} in dimension {self.dim}>"


def mixture(weights: Array, means: Array, covariances: Array) -> Law:
    """The law Σ_k w_k N(m_k, C_k): weights of length K, means K × d, covariances K × d × d.

    >>> import numpy as np, brenier
    >>> law = brenier.mixture([0.5, 0.5], [[-2.0], [2.0]], [[[1.0]], [[1.0]]])
    >>> float(law.score(np.array([[2.0]]))[0, 0]) < 0  # towards the other mode
    True
    """
    law = Law.__new__(Law)
    law._law, law._name = _brenier.Law.mixture(weights, means, covariances), f"of {len(weights)} Gaussians"
    return law


def points(name: str, n: int = 4096, *, dim: Optional[int] = None, seed: int = 0) -> np.ndarray:
    """`n` draws of a law or a shape by its name, such as ``moons``; or all points of a set or a file, such as ``digits``.

    >>> import brenier
    >>> brenier.points("moons", 100).shape
    (100, 2)
    """
    return _brenier.draw(name, n, dim, seed)


End = Union[str, Law, Array]
"""A law, a name or a file, or points."""


def _end(end: End) -> Any:
    return end._law if isinstance(end, Law) else end


@dataclass(frozen=True, repr=False, eq=False)
class Descent:
    """A gradient flow, step by step, with its certificate; docs/records.md has every key."""

    particles: Array
    """The last state, n × d."""
    weights: Optional[Array]
    """Its weights, where they changed."""
    steps: list[dict[str, Any]]
    """The account of each state: `free_energy`, `w2_squared_step`, `energy_inequality`, `jko_residual`, …"""
    record: dict[str, Any]
    """All else that the command prints."""

    @property
    def free_energy(self) -> np.ndarray:
        """F of each state; NaN where it is not known."""
        return np.array([np.nan if step["free_energy"] is None else step["free_energy"] for step in self.steps])

    def plot(self, ax: Any = None) -> Any:
        """Free energy against steps, with matplotlib."""
        from brenier._plot import descent

        return descent(self, ax)

    def __repr__(self) -> str:
        n, d = self.particles.shape
        values = {name: self.record.get(name) for name in ("scheme", "tau", "eps", "heldout_divergence", "flags")}
        values["free_energy"] = f"{self.free_energy[0]:.4g} to {self.free_energy[-1]:.4g} in {len(self.steps) - 1} steps"
        return _lines(f"Descent of {n} particles in dimension {d}", values)


Potential = Callable[[np.ndarray], Tuple[Array, Array]]
"""x, n × d, to (V, ∇V): n numbers and n × d."""


def jko(
    source: End,
    target: Union[End, Potential],
    *,
    scheme: Optional[str] = None,
    tau: Optional[float] = None,
    eps: Optional[float] = None,
    anneal: Optional[float] = None,
    schedule: Optional[str] = None,
    steps: int = 20,
    n: Optional[int] = None,
    seed: int = 0,
    precision: Optional[str] = None,
    device: str = "auto",
    progress: Progress = None,
    checkpoint: Path = None,
) -> Descent:
    """The Wasserstein gradient flow from `source` to `target` in JKO steps, each with its free energy, W₂² and residual.

    `target` may be a potential of your own, a function x ↦ (V, ∇V) of n × d points: Langevin steps of length `tau` then descend
    KL(·|e^{−V}) from the points `source`.

    >>> import numpy as np, brenier
    >>> flow = brenier.jko("normal", "8gaussians", steps=3, n=200)
    >>> flow.particles.shape, len(flow.steps)
    ((200, 2), 4)
    >>> well = lambda x: (0.5 * (x**2).sum(axis=1), x)  # N(0, I)
    >>> start = 3.0 * np.random.default_rng(0).normal(size=(500, 2))
    >>> bool(brenier.jko(start, well, tau=0.2, steps=20).particles.std() < 1.5)
    True
    """
    asked: dict[str, Any] = {
        "scheme": scheme,
        "tau": tau,
        "eps": eps,
        "anneal": anneal,
        "schedule": schedule,
        "steps": steps,
        "n": n,
        "seed": seed,
        "precision": precision,
        "device": device,
    }
    place = place_of(*(end for end in (source, target) if not (isinstance(end, (str, Law)) or callable(end))))
    asked["checkpoint"] = kept(checkpoint, "jko", {"source": source, "target": target, **asked})
    with telling(progress, "jko") as asked["progress"]:
        if callable(target) and not isinstance(target, Law):
            if scheme not in (None, "langevin"):
                raise ValueError(f"a potential is descended by langevin, not by {scheme}; leave scheme out")
            if isinstance(source, (str, Law)):
                raise ValueError("give the points that descend the potential, n x d, as the source")
            accounts, particles = _brenier.descend_potential(source, target, asked)
            record: dict[str, Any] = {"scheme": "langevin", "tau": tau, "eps": None}
            return Descent(place(particles), None, json.loads(accounts), record)
        text, particles, weights = _brenier.jko(_end(source), _end(target), asked)
    record = json.loads(text)
    if record.get("halted"):
        say(BrenierWarning, record["halted"])
    if record["flags"]:
        say(BrenierWarning, "flags: " + ", ".join(record["flags"]))
    return Descent(place(particles), None if weights is None else place(weights), record.pop("steps"), record)


@dataclass(frozen=True, repr=False, eq=False)
class Barycenter:
    """The points that have the least weighted sum of W₂² to several clouds."""

    points: Array
    """n × d."""
    objective: list[float]
    """The weighted sum after each step."""
    moved: float
    """How far the points moved in the last step."""
    converged: bool
    """Whether they have come to rest."""

    def __repr__(self) -> str:
        n, d = self.points.shape
        values = {"objective": self.objective[-1] if self.objective else None, "converged": self.converged}
        return _lines(f"Barycenter of {n} points in dimension {d}", values)


def barycenter(
    clouds: Sequence[Array],
    weights: Optional[Sequence[float]] = None,
    *,
    n: int = 256,
    eps: Optional[float] = None,
    steps: int = 100,
    seed: int = 0,
    device: str = "auto",
    progress: Progress = None,
) -> Barycenter:
    """The free-support barycenter argmin_ν Σ_k w_k W₂²(ν, μ_k) of `n` points (Cuturi, Doucet 2014): by exact plans, or entropic and
    debiased ones at `eps`.

    >>> import numpy as np, brenier
    >>> x = np.random.default_rng(0).normal(size=(64, 2))
    >>> middle = brenier.barycenter([x, x + 4.0], n=64).points
    >>> bool(np.allclose(middle.mean(axis=0), x.mean(axis=0) + 2.0, atol=0.05))
    True
    """
    place = place_of(*clouds)
    with telling(progress, "barycenter") as tell:
        found, objective, moved, converged = _brenier.barycenter(
            list(clouds), None if weights is None else list(map(float, weights)), n, eps, steps, seed, device, tell
        )
    if not converged:
        say(ConvergenceWarning, f"the points still moved by {moved:.3g} in the last step; raise steps")
    return Barycenter(place(found), objective, moved, converged)


class Evaluation(dict[str, Any]):
    """How good A is as a sample of B: the record of ``brenier evaluate`` as a dictionary, its keys as attributes too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __repr__(self) -> str:
        shown = ("divergence", "noise_floor", "variance_ratio", "precision", "recall", "memorised_share", "flags")
        return _lines("Evaluation", {name: self[name] for name in shown if self.get(name) is not None})


def evaluate(
    a: End,
    b: End,
    *,
    train: Optional[Array] = None,
    features: Optional[Sequence[Array]] = None,
    n: int = 4096,
    k: Optional[int] = None,
    permutations: int = 499,
    seed: int = 0,
    device: str = "auto",
    progress: Progress = None,
) -> Evaluation:
    """Measures A against B with the ruler: the Sinkhorn divergence beside its noise floor, precision, recall, density, coverage, energy
    distance and MMD with intervals and p-values, and flags where they would mislead.

    `train` is what A may have been copied from; `features` are those of A and B (and `train`), in which all is measured as well.

    >>> import brenier
    >>> law = brenier.Law("8gaussians")
    >>> found = brenier.evaluate(law.sample(300, seed=1), law.sample(300, seed=2), permutations=19)
    >>> found.divergence < 4 * found.noise_floor["divergence"]
    True
    """
    sizes = (n, k, permutations, seed)
    with telling(progress, "evaluate") as tell:
        record = _brenier.evaluate(_end(a), _end(b), train, None if features is None else list(features), sizes, device, tell)
    return Evaluation(json.loads(record))
