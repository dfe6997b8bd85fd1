"""Where cells go: a table of transitions between labels, and fates, from an AnnData with time points.

Cells in `adata.obsm["X_pca"]`, their day in `adata.obs["day"]` and type in `adata.obs["cell_type"]`. A cell's fate is E[type |
cell] under the entropic plan between two days; `reach=` lets cells die and divide instead of travelling farther than about that.
"""

import anndata
import numpy as np
import pandas

import brenier


def toy(seed=0):
    """Stem cells on day 0 that become two types on day 1, the first twice as often, beside a type that stays."""
    draw = np.random.default_rng(seed)
    centre = {"stem": [0, 0, 0], "stays": [8, 0, 0], "neuron": [1, 4, 0], "glia": [1, -4, 0]}
    cells = [("stem", 0, 300), ("stays", 0, 100), ("neuron", 1, 200), ("glia", 1, 100), ("stays", 1, 100)]
    points = np.concatenate([draw.normal(centre[kind], 0.7, size=(n, 3)) for kind, _, n in cells])
    obs = pandas.DataFrame([(kind, day) for kind, day, n in cells for _ in range(n)], columns=["cell_type", "day"])
    obs["cell_type"] = obs["cell_type"].astype("category")
    obs.index = obs.index.astype(str)
    return anndata.AnnData(X=points, obs=obs, obsm={"X_pca": points})


def fates(adata, before, after, label="cell_type", **keywords):
    """The probability that each cell of day `before` is of each type on day `after`, a row a cell, and the solved plan."""
    ends = [adata[adata.obs["day"] == day] for day in (before, after)]
    found = brenier.sinkhorn(*(np.ascontiguousarray(end.obsm["X_pca"]) for end in ends), **keywords)
    types = pandas.get_dummies(ends[1].obs[label].cat.remove_unused_categories(), dtype=float)
    return pandas.DataFrame(found.plan.pull(types.to_numpy()), index=ends[0].obs_names, columns=types.columns), found


if __name__ == "__main__":
    adata = toy()
    of_cells, found = fates(adata, 0, 1, entropy=0.3)
    print(found, end="\n\n")
    # Rows: types on day 0, by their cells' mean fate. A stem cell becomes a neuron twice as often as glia; what stays, stays.
    table = of_cells.groupby(adata.obs.loc[of_cells.index, "cell_type"], observed=True).mean()
    print(table.round(3), end="\n\n")
    undecided = of_cells.max(axis=1).nsmallest(3)
    print("least decided cells:", ", ".join(f"{name} ({share:.2f})" for name, share in undecided.items()))
