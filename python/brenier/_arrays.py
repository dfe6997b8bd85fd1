"""Where arrays come from, and back to where results go."""

from __future__ import annotations

import sys
from typing import Any, Callable

import numpy as np

Array = Any
"""An array of NumPy, PyTorch, JAX or CuPy, or what `numpy.asarray` takes."""

Place = Callable[[np.ndarray], Array]
"""Takes a NumPy array to the library and the device of another array."""


def host(values: Array) -> np.ndarray:
    """As NumPy has it."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    elif type(values).__module__.partition(".")[0] == "cupy":
        values = values.get()
    return np.asarray(values)


def place_of(*arrays: Array) -> Place:
    """Where the first of `arrays` lies that is not None."""
    first: Any = next((array for array in arrays if array is not None), None)
    library = type(first).__module__.partition(".")[0]
    if library == "torch":
        torch, device = sys.modules["torch"], first.device
        return lambda array: torch.from_numpy(array).to(device)
    if library in ("jax", "jaxlib"):
        import jax

        return lambda array: jax.device_put(array, first.device)
    if library == "cupy":
        cupy = sys.modules["cupy"]

        def on_device(array: np.ndarray) -> Array:
            with first.device:
                return cupy.asarray(array)

        return on_device
    return lambda array: array
