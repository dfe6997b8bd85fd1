"""Samplers: particles moved from noise to data."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Callable, Optional, Sequence, Tuple, Union

import numpy as np

from brenier import _brenier
from brenier._arrays import Array, Place, place_of
from brenier._checkpoint import Path, kept
from brenier._flow import Law
from brenier._progress import Progress, telling
from brenier._transport import _lines
from brenier._warnings import BrenierWarning, say

Field = Union[str, Law, Array, Callable[[Array, Array], Array]]
"""A law, points, a name or a file, or a function f(x, t) of x, n × d, and t, n numbers."""

_SHORT_OF_NOISE = 0.1  # in units of the first level's sigma, as on the command line


@dataclass(frozen=True, repr=False, eq=False)
class Samples:
    """Where the particles ended."""

    points: Array
    """The samples, n × d."""
    method: str
    """The method."""
    nfe: int
    """Evaluations of the field for each particle."""
    steps: int
    """Steps."""
    grid: Optional[str]
    """Where the levels lie."""
    trajectory: Optional[Array]
    """All states, steps + 1 × n × d, where they were asked for."""
    log_p: Optional[Array]
    """The log density of each sample, in nats, where it was asked for."""

    def __repr__(self) -> str:
        n, d = self.points.shape
        values = {"method": self.method, "steps": self.steps, "nfe": self.nfe, "grid": self.grid}
        return _lines(f"{n} samples in dimension {d}", values)

    def __array__(self, dtype: Any = None, copy: Optional[bool] = None) -> np.ndarray:
        return np.asarray(self.points, dtype=dtype)


def _function(field: Callable[..., Array], start: Optional[Array]) -> Tuple[Callable[..., Array], Place]:
    """A function of NumPy's arrays, and where its results go: to torch for a module, else where the start points lie."""
    torch: Any = sys.modules.get("torch")
    place = place_of(start)
    if torch is not None and isinstance(field, torch.nn.Module):
        network: Any = field
        parameter = next(iter(network.parameters()), None)
        device = "cpu" if parameter is None else parameter.device

        def module(x: np.ndarray, t: np.ndarray) -> Array:
            with torch.no_grad():
                return network(torch.from_numpy(x).to(device), torch.from_numpy(t).to(device))

        return module, lambda array: torch.from_numpy(array).to(device)
    if start is None or isinstance(start, np.ndarray):
        return field, place
    return (lambda x, t: field(place(x), place(t))), place


def _find_runtime() -> None:
    """Has the library look for the ONNX Runtime in this environment, active or not, unless it is told where that is."""
    import importlib.util
    import os
    from pathlib import Path

    found = importlib.util.find_spec("onnxruntime")
    for folder in (found.submodule_search_locations or []) if found else []:
        for path in sorted(Path(folder).glob("capi/*onnxruntime.*so*")):
            os.environ.setdefault("ORT_DYLIB_PATH", str(path))


def sample(
    field: Field,
    *,
    method: str = "ddim",
    n: Optional[int] = None,
    steps: Optional[int] = None,
    grid: Optional[str] = None,
    times: Optional[Sequence[float]] = None,
    schedule: Optional[str] = None,
    shift: Optional[float] = None,
    eta: Optional[float] = None,
    churn: Optional[float] = None,
    step: Optional[float] = None,
    tol: Optional[float] = None,
    snr: Optional[float] = None,
    probability_flow: bool = False,
    length: Optional[float] = None,
    compat: Sequence[str] = (),
    start: Optional[Array] = None,
    noise: Optional[Array] = None,
    trajectory: bool = False,
    log_p: bool = False,
    prediction: Optional[str] = None,
    clock: Optional[str] = None,
    clock_reverse: bool = False,
    clock_scale: float = 1.0,
    dim: Optional[int] = None,
    seed: int = 0,
    precision: Optional[str] = None,
    device: str = "auto",
    progress: Progress = None,
    checkpoint: Path = None,
) -> Samples:
    """Moves particles from noise to data with any method over any field; the numbers are those of the `brenier sample` command.

    Parameters
    ----------
    field : law, array, str or callable
        A :class:`Law` by its own field; an array of points by theirs, which memorises them; the name of a law, a file of points or a
        model (``.safetensors``, ``.onnx``); or a function ``f(x, t)``, such as a PyTorch module: x is n × d, t n equal numbers, 0 at
        noise and 1 at data.
    method : str
        A name of :func:`methods`.
    n, start : int, array
        Particles (4,096), or their start points, n × d.
    steps, grid, times, schedule, shift
        Steps (50), where the levels lie, or their times from 0 to 1; the schedule.
    eta, churn, step, tol, snr, probability_flow, length, compat
        Options of some methods, as on the command line.
    noise : array, draws × n × d, optional
        Noise to use instead of the seeded.
    trajectory, log_p : bool
        Also all states, and the log density of each sample.
    prediction : str
        What a function or an ONNX model gives: ``velocity`` (dx/dt, unless said otherwise), ``x0``, ``eps``, ``v``, ``score``. All but
        a velocity need the `schedule` of the training.
    clock, clock_reverse, clock_scale
        What a function takes for t: ``t``, ``sigma``, ``log-snr`` or ``index``; the other way; times a factor.
    dim : int
        Dimension for a function, where no start points tell.

    Raises
    ------
    ValueError
        For a method, option or field that do not go together, in a sentence.
    Exception
        Whatever the function raises comes through, with its traceback.

    Examples
    --------
    >>> import numpy as np, brenier
    >>> samples = brenier.sample("8gaussians", method="fm-heun", steps=10, n=500)
    >>> samples.points.shape, samples.nfe
    ((500, 2), 20)
    >>> to_a_point = lambda x, t: (np.array([3.0, 0.0]) - x) / (1.0 - t[:, None])
    >>> moved = brenier.sample(to_a_point, method="fm-euler", steps=8, n=100, dim=2).points
    >>> bool(np.allclose(moved, [3.0, 0.0], atol=1e-5))
    True
    """
    if isinstance(field, str) and field.lower().endswith(".onnx"):
        _find_runtime()
    place = place_of(start, None if isinstance(field, (str, Law)) or callable(field) else field)
    if callable(field) and not isinstance(field, Law):
        field, place = _function(field, start)
    asked: dict[str, Any] = {
        "method": method,
        "n": n,
        "steps": steps,
        "grid": grid,
        "times": None if times is None else np.asarray(times, dtype=np.float64),
        "schedule": schedule,
        "shift": shift,
        "eta": eta,
        "churn": churn,
        "step": step,
        "tol": tol,
        "snr": snr,
        "probability_flow": probability_flow,
        "length": length,
        "compat": [compat] if isinstance(compat, str) else list(compat),
        "start": start,
        "noise": noise,
        "trajectory": trajectory,
        "log_p": log_p,
        "prediction": prediction,
        "clock": clock,
        "clock_reverse": clock_reverse,
        "clock_scale": clock_scale,
        "dim": dim,
        "seed": seed,
        "precision": precision,
        "device": device,
    }
    asked["checkpoint"] = kept(checkpoint, "sample", {"field": field, **asked})
    with telling(progress, method) as asked["progress"]:
        points, nfe, taken, levels, advice, prior_error, states, densities = _brenier.sample(
            field._law if isinstance(field, Law) else field, asked
        )
    if advice is not None:
        say(BrenierWarning, advice)
    if prior_error is not None and prior_error > _SHORT_OF_NOISE:
        words = "where the particles of the data are not the prior N(0, sigma² I), and the samples keep that"
        say(BrenierWarning, f"the run starts short of pure noise, {prior_error:.3g} sigma off, {words}")
    if not np.isfinite(points).all():
        rows = int((~np.isfinite(points).all(axis=1)).sum())
        say(BrenierWarning, f"{rows} of the {len(points)} samples are not finite")
    states, densities = (None if array is None else place(array) for array in (states, densities))
    return Samples(place(points), method, nfe, taken, levels, states, densities)


def methods() -> dict[str, str]:
    """The sampling methods: name and one line each.

    >>> import brenier
    >>> "ddim" in brenier.methods()
    True
    """
    return dict(_brenier.methods())
