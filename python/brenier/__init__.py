"""Wasserstein gradient flows and geodesics: optimal transport, diffusion and flow matching at a million particles.

Arrays go in as they are, of NumPy, PyTorch, JAX or CuPy, and results come back in the same library, on the same device. The `brenier`
command is in the package too, and both give the same numbers.
"""

from brenier._brenier import __version__, kernels, set_threads, threads
from brenier._transport import Divergence, Plan, Transport, divergence, exact, low_rank, sinkhorn
from brenier._warnings import BrenierWarning, CollapseWarning, ConvergenceWarning

__all__ = [
    "BrenierWarning",
    "CollapseWarning",
    "ConvergenceWarning",
    "Divergence",
    "Plan",
    "Transport",
    "__version__",
    "divergence",
    "exact",
    "kernels",
    "low_rank",
    "set_threads",
    "sinkhorn",
    "threads",
]
