"""Values of POT and OTT-JAX that tests/maths/peers_agree.rs compares with; writes tests/data/transport.npz.

    pip install pot==0.9.7.post1 ott-jax==0.6.0 jax==0.10.2 numpy && python tests/reference/transport.py

Both take |x-y|², so twice our eps and rho; their values and potentials are halved here. Solved in float64 to 1e-12 and more.
"""

import jax

jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp
import numpy as np
import ot
from ott.geometry import costs, pointcloud
from ott.problems.linear import linear_problem
from ott.solvers.linear import sinkhorn
from ott.tools import segment_sinkhorn, sinkhorn_divergence

out = {}
for case, (n, m, d, eps, rho) in enumerate([(30, 25, 2, 0.2, 0.7), (20, 40, 5, 0.5, 2.0), (35, 35, 1, 0.1, 0.3)]):
    random = np.random.default_rng(case)
    x, y = random.standard_normal((n, d)), 0.7 * random.standard_normal((m, d)) + 0.4
    a, b = random.random(n) + 0.1, random.random(m) + 0.1
    a, b = a / a.sum(), b / b.sum()
    cost = ot.dist(x, y)

    plan, log = ot.sinkhorn(a, b, cost, 2 * eps, method="sinkhorn_log", numItermax=200_000, stopThr=1e-14, log=True)
    # u = exp(f/reg) a in POT's convention of an entropy without a ⊗ b.
    f, g = eps * (log["log_u"] - np.log(a)), eps * (log["log_v"] - np.log(b))
    shift = b @ g
    put = {"x": x, "y": y, "a": a, "b": b, "eps": eps, "rho": rho, "pot_plan": plan, "pot_cost": 0.5 * (plan * cost).sum()}
    put |= {"pot_f": f + shift, "pot_g": g - shift}

    # OTT's free marginals are another problem, with entropy relative to the counting measure, so only POT's are compared.
    for name, reg_m in [("unbalanced", 2 * rho), ("semi", (np.inf, 2 * rho))]:
        free = ot.unbalanced.sinkhorn_unbalanced(
            a, b, cost, 2 * eps, reg_m, reg_type="kl", c=a[:, None] * b[None], numItermax=200_000, stopThr=1e-15
        )
        put |= {f"pot_{name}_plan": free, f"pot_{name}_cost": 0.5 * (free * cost).sum()}

    solver = dict(threshold=1e-13, max_iterations=200_000)
    geometry = pointcloud.PointCloud(jnp.asarray(x), jnp.asarray(y), epsilon=2 * eps)
    balanced = sinkhorn.Sinkhorn(**solver)(linear_problem.LinearProblem(geometry, a, b))
    divergence = sinkhorn_divergence.sinkhorn_divergence(
        pointcloud.PointCloud, jnp.asarray(x), jnp.asarray(y), a=a, b=b, epsilon=2 * eps, solve_kwargs=solver
    )[0]
    put |= {"ott_regularised": 0.5 * float(balanced.reg_ot_cost), "ott_divergence": 0.5 * float(divergence)}

    # Other costs, at a tenth of their mean: ours are theirs.
    for name, metric in [("euclidean", dict(metric="euclidean")), ("lp1", dict(metric="cityblock")),
                         ("lp3", dict(metric="minkowski", p=3)), ("cosine", dict(metric="cosine"))]:
        cost = ot.dist(x, y, **metric)
        reg = 0.1 * cost.mean()
        plan = ot.sinkhorn(a, b, cost, reg, method="sinkhorn_log", numItermax=200_000, stopThr=1e-14)
        free = ot.unbalanced.sinkhorn_unbalanced(
            a, b, cost, reg, (rho, np.inf), reg_type="kl", c=a[:, None] * b[None], numItermax=200_000, stopThr=1e-15
        )
        put |= {f"{name}_eps": reg, f"pot_{name}_cost": (plan * cost).sum(), f"pot_{name}_semi_cost": (free * cost).sum()}
        if name in ("euclidean", "cosine"):
            put |= {f"pot_{name}_plan": plan}
    for name, cost in [("euclidean", costs.Euclidean()), ("cosine", costs.Cosine())]:
        geometry = pointcloud.PointCloud(jnp.asarray(x), jnp.asarray(y), epsilon=put[f"{name}_eps"], cost_fn=cost)
        balanced = sinkhorn.Sinkhorn(**solver)(linear_problem.LinearProblem(geometry, a, b))
        divergence = sinkhorn_divergence.sinkhorn_divergence(
            pointcloud.PointCloud, jnp.asarray(x), jnp.asarray(y), a=a, b=b, epsilon=put[f"{name}_eps"], cost_fn=cost,
            solve_kwargs=solver,
        )[0]
        put |= {f"ott_{name}_regularised": float(balanced.reg_ot_cost), f"ott_{name}_divergence": float(divergence)}
    out |= {f"{name}_{case}": np.asarray(value, np.float64) for name, value in put.items()}

# A ragged batch, solved together: OTT pads the problems to one size with points of no mass.
random = np.random.default_rng(9)
sizes = np.array([[7, 9], [12, 5], [3, 3], [10, 12]])
x, y = (random.standard_normal((sizes[:, k].sum(), 2)) * (1 - 0.3 * k) + 0.4 * k for k in (0, 1))
a, b = (random.random(len(points)) + 0.1 for points in (x, y))
ends = [np.repeat(np.arange(len(sizes)), sizes[:, k]) for k in (0, 1)]
for weights, ids in ((a, ends[0]), (b, ends[1])):
    weights /= np.bincount(ids, weights)[ids]
together = segment_sinkhorn.segment_sinkhorn(
    jnp.asarray(x), jnp.asarray(y), num_segments=len(sizes), max_measure_size=int(sizes.max()),
    num_per_segment_x=tuple(map(int, sizes[:, 0])), num_per_segment_y=tuple(map(int, sizes[:, 1])),
    weights_x=jnp.asarray(a), weights_y=jnp.asarray(b),
    sinkhorn_kwargs=dict(threshold=1e-13, max_iterations=200_000), epsilon=2 * 0.2,
)
batch = {"sizes": sizes, "x": x, "y": y, "a": a, "b": b, "eps": 0.2, "ott_regularised": 0.5 * together}
out |= {f"batch_{name}": np.asarray(value, np.float64) for name, value in batch.items()}

np.savez_compressed("tests/data/transport.npz", **out)
