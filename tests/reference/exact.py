"""Exact plans of POT that tests/maths/peers_agree.rs compares with; writes tests/data/exact.npz.

    pip install pot==0.9.7.post1 numpy==2.4.6 && python tests/reference/exact.py

POT takes |x-y|², so its costs and potentials are halved here. Points are multiples of 1/64, so that both sides have the same ones
and squared distances are exact.
"""

import numpy as np
import ot

random = np.random.default_rng(5)


def points(n, d, scale=1.0):
    return np.round(64 * scale * random.standard_normal((n, d))) / 64


def weights(n):
    w = random.random(n) + 0.05
    return w / w.sum()


def uniform(n):
    return np.full(n, 1 / n)


lattice = np.stack(np.meshgrid(np.arange(5.0), np.arange(4.0)), -1).reshape(-1, 2)
few = points(6, 3)
cases = [
    # Weighted, n != m: one optimal basis, so the potentials are unique too.
    (points(40, 2), points(25, 2, 0.7) + 0.5, weights(40), weights(25)),
    (points(20, 8), points(45, 8, 1.5), weights(20), weights(45)),
    (points(30, 1), points(35, 1, 0.5) + 1, weights(30), weights(35)),
    # Uniform of the same size: an assignment, whose potentials are not unique.
    (points(40, 3), points(40, 3) - 0.25, uniform(40), uniform(40)),
    # Ties: a lattice to its own shift, with many optimal plans.
    (lattice, lattice[::-1] + [1.0, 0.0], uniform(20), uniform(20)),
    # Duplicated points on both sides, unequal weights, n != m.
    (np.repeat(few, 4, axis=0), np.concatenate([few, few, points(5, 3)]), weights(24), weights(17)),
    # Weights of zero, and a ratio of a million between others.
    (points(15, 2), points(12, 2), np.where(np.arange(15) % 4 == 0, 0, 10.0 ** (-6 * random.random(15))), weights(12)),
]

out = {}
for case, (x, y, a, b) in enumerate(cases):
    a, b = a / a.sum(), b / b.sum()
    cost = ot.dist(x, y)
    plan, log = ot.emd(a, b, cost, numItermax=1_000_000, log=True)
    assert log["warning"] is None
    f, g = 0.5 * log["u"], 0.5 * log["v"]
    shift = b @ g
    put = {"x": x, "y": y, "a": a, "b": b, "plan": plan, "cost": 0.5 * (plan * cost).sum(), "f": f + shift, "g": g - shift}
    out |= {f"{name}_{case}": np.asarray(value, np.float64) for name, value in put.items()}

np.savez_compressed("tests/data/exact.npz", **out)
