"""Values of POT and OTT-JAX that tests/peers_agree.rs compares with; writes tests/data/transport.npz.

    pip install pot==0.9.7.post1 ott-jax==0.6.0 jax==0.10.2 numpy && python tests/reference/transport.py

Both take |x-y|², so twice our eps and rho; their values and potentials are halved here. Solved in float64 to 1e-12 and more.
"""

import jax

jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp
import numpy as np
import ot
from ott.geometry import pointcloud
from ott.problems.linear import linear_problem
from ott.solvers.linear import sinkhorn
from ott.tools import sinkhorn_divergence

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

    unbalanced = ot.unbalanced.sinkhorn_unbalanced(
        a, b, cost, 2 * eps, 2 * rho, reg_type="kl", c=a[:, None] * b[None], numItermax=200_000, stopThr=1e-15
    )
    put |= {"pot_unbalanced_plan": unbalanced, "pot_unbalanced_cost": 0.5 * (unbalanced * cost).sum()}

    solver = dict(threshold=1e-13, max_iterations=200_000)
    geometry = pointcloud.PointCloud(jnp.asarray(x), jnp.asarray(y), epsilon=2 * eps)
    balanced = sinkhorn.Sinkhorn(**solver)(linear_problem.LinearProblem(geometry, a, b))
    tau = rho / (rho + eps)
    free = sinkhorn.Sinkhorn(**solver)(linear_problem.LinearProblem(geometry, a, b, tau_a=tau, tau_b=tau))
    semi = sinkhorn.Sinkhorn(**solver)(linear_problem.LinearProblem(geometry, a, b, tau_b=tau))
    divergence = sinkhorn_divergence.sinkhorn_divergence(
        pointcloud.PointCloud, jnp.asarray(x), jnp.asarray(y), a=a, b=b, epsilon=2 * eps, solve_kwargs=solver
    )[0]
    put |= {"ott_regularised": 0.5 * float(balanced.reg_ot_cost), "ott_divergence": 0.5 * float(divergence)}
    put |= {"ott_unbalanced_plan": free.matrix, "ott_semi_plan": semi.matrix}
    out |= {f"{name}_{case}": np.asarray(value, np.float64) for name, value in put.items()}

np.savez_compressed("tests/data/transport.npz", **out)
