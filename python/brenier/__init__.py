"""Wasserstein gradient flows and geodesics: optimal transport, diffusion and flow matching at a million particles.

Arrays go in as they are, of NumPy, PyTorch, JAX or CuPy, and results come back in the same library, on the same device. The `brenier`
command is in the package too, and both give the same numbers.
"""

from brenier._brenier import __version__, kernels, set_threads, threads
from brenier._command import Report, command, compare, train
from brenier._field import Samples, methods, sample
from brenier._flow import Barycenter, Descent, Evaluation, Law, barycenter, evaluate, jko, mixture, points
from brenier._transport import (
    Bridge,
    Divergence,
    Geodesic,
    Pairs,
    Plan,
    Transport,
    bridge,
    couple,
    divergence,
    exact,
    geodesic,
    low_rank,
    sinkhorn,
)
from brenier._warnings import BrenierWarning, CollapseWarning, ConvergenceWarning

__all__ = [
    "Barycenter",
    "BrenierWarning",
    "Bridge",
    "CollapseWarning",
    "ConvergenceWarning",
    "Descent",
    "Divergence",
    "Evaluation",
    "Geodesic",
    "Law",
    "Pairs",
    "Plan",
    "Report",
    "Samples",
    "Transport",
    "__version__",
    "barycenter",
    "bridge",
    "command",
    "compare",
    "couple",
    "divergence",
    "evaluate",
    "exact",
    "geodesic",
    "jko",
    "kernels",
    "low_rank",
    "methods",
    "mixture",
    "points",
    "sample",
    "set_threads",
    "sinkhorn",
    "threads",
    "train",
]
