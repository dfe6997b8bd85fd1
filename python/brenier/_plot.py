"""Plots, with matplotlib where it is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from brenier._flow import Descent


def _axes(ax: Any) -> Any:
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError as why:
        raise ImportError("plots need matplotlib: pip install matplotlib") from why
    return plt.subplots(figsize=(5, 3.4), layout="constrained")[1]


def descent(flow: Descent, ax: Any = None) -> Any:
    """Free energy against steps, on a logarithmic scale where it stays positive."""
    ax = _axes(ax)
    energy = flow.free_energy
    ax.plot(np.arange(len(energy)), energy, marker="o", markersize=3, linewidth=1.5)
    if np.nanmin(energy) > 0:
        ax.set_yscale("log")
    ax.set_xlabel("step")
    ax.set_ylabel("free energy (nats)")
    ax.set_title(str(flow.record.get("scheme", "")))
    ax.spines[["top", "right"]].set_visible(False)
    return ax
