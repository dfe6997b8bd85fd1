"""Sinkhorn with a fixed number of iterations on the same two clouds: brenier, OTT-JAX, GeomLoss (dense and KeOps), POT.

x ~ N(0, I), y ~ N(1, I) in R^d, n = m, uniform weights, float32, eps = 0.025 d in units of |x-y|²/2. Every round runs each
library once, so that all see the same minutes of the machine; a figure is the median over the rounds after one warm-up round.
Time a pair = seconds / (iterations · 2 · n · m). The dual value, in units of |x-y|²/2, shows that all solve the same problem: with
enough iterations all print the same. (They start elsewhere: brenier from the clouds' means, GeomLoss with symmetric updates.)
"""

import argparse, json, os, subprocess, tempfile, time, warnings
from functools import cache, partial

parser = argparse.ArgumentParser()
parser.add_argument("--brenier", default="target/release/brenier")
parser.add_argument("--n", type=int, default=10_000)
parser.add_argument("--d", type=int, default=3)
parser.add_argument("--iterations", type=int, default=10)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--only", default="", help="comma-separated names to run, all by default")
args = parser.parse_args()
os.environ |= {"OMP_NUM_THREADS": str(args.threads), "OMP_WAIT_POLICY": "passive"}
warnings.filterwarnings("ignore")

import geomloss, jax, jax.numpy as jnp, numpy as np, ot, ott, torch
from geomloss._legacy.sinkhorn_divergence import log_weights, sinkhorn_loop
from geomloss._legacy.sinkhorn_samples import lse_genred, softmin_online, softmin_tensorized
from ott.geometry import pointcloud
from ott.problems.linear import linear_problem
from ott.solvers.linear import sinkhorn

torch.set_num_threads(args.threads)
n, d, T, eps = args.n, args.d, args.iterations, 0.025 * args.d
random = np.random.default_rng(0)
x = random.standard_normal((n, d)).astype(np.float32)
y = (random.standard_normal((n, d)) + 1).astype(np.float32)
folder = tempfile.TemporaryDirectory()
for name, points in [("x", x), ("y", y)]:
    np.save(f"{folder.name}/{name}.npy", points)


def brenier():
    """--tol 0 makes exactly T iterations at eps; `seconds` also counts the passes for the plan's cost and map."""
    command = [args.brenier, "transport", f"{folder.name}/x.npy", f"{folder.name}/y.npy", "--eps", str(eps), "--tol", "0"]
    command += ["--max-iter", str(T), "--threads", str(args.threads), "--json", "--quiet"]
    out = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return out["seconds"], out["dual"]


def timed(run, dual):
    start = time.perf_counter()
    out = run()
    return time.perf_counter() - start, dual(out)


@cache
def ott_solver(batch_size):
    """Compiled once, in the warm-up round."""
    solver = sinkhorn.Sinkhorn(threshold=-1.0, max_iterations=T, min_iterations=T, inner_iterations=min(10, T))
    cloud = partial(pointcloud.PointCloud, epsilon=2 * eps, batch_size=batch_size)
    return jax.jit(lambda x, y: solver(linear_problem.LinearProblem(cloud(x, y))))


def ott_jax(batch_size):
    """Cost |x-y|², so twice our eps and values; its potentials absorb eps log a."""
    solve, X, Y = ott_solver(batch_size), jnp.asarray(x), jnp.asarray(y)
    dual = lambda out: 0.5 * (float(out.f.mean()) + float(out.g.mean()) + 4 * eps * np.log(n))
    return timed(lambda: jax.block_until_ready(solve(X, Y)), dual)


def geomloss_loop(online):
    """Cost |x-y|² and symmetric updates, one more pass to begin with."""
    X, Y, a = torch.from_numpy(x), torch.from_numpy(y), torch.full((n,), 1 / n)
    if online:
        softmin = partial(softmin_online, log_conv=lse_genred("SqDist(X,Y)", d))
        problem = (log_weights(a), log_weights(a), None, None, (X, Y), (Y, X))
    else:
        softmin = softmin_tensorized
        cost = ((X * X).sum(-1)[:, None] + (Y * Y).sum(-1)[None] - 2 * X @ Y.T)[None]
        problem = (log_weights(a)[None], log_weights(a)[None], None, None, cost, cost.transpose(1, 2).contiguous())
    loop = lambda: sinkhorn_loop(softmin, *problem, [2 * eps] * T, rho=None, debias=False, last_extrapolation=False)
    dual = lambda out: 0.5 * sum(float(o.double().mean()) for o in out if o is not None)
    with torch.no_grad():
        return timed(loop, dual)


def pot():
    """Cost |x-y|², matrix given; log-domain with torch."""
    X, Y, a = torch.from_numpy(x), torch.from_numpy(y), torch.full((n,), 1 / n)
    cost = ot.dist(X, Y)
    run = lambda: ot.sinkhorn(a, a, cost, 2 * eps, method="sinkhorn_log", numItermax=T, stopThr=-1.0, log=True, warn=False)[1]
    return timed(run, lambda log: eps * float(log["log_u"].double().mean() + log["log_v"].double().mean() + 2 * np.log(n)))


peers = {
    "brenier": brenier,
    "ott dense": partial(ott_jax, None),
    "ott online": partial(ott_jax, 1024),
    "geomloss dense": partial(geomloss_loop, False),
    "geomloss keops": partial(geomloss_loop, True),
    "pot log torch": pot,
}
chosen = {name: peer for name, peer in peers.items() if not args.only or name in args.only.split(",")}
seconds = {name: [] for name in chosen}
duals = {}
for round in range(args.rounds + 1):
    for name, peer in list(chosen.items()):
        try:
            taken, duals[name] = peer()
            if round > 0:
                seconds[name].append(taken)
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {str(error)[:120]}", flush=True)
            del chosen[name]

versions = f"ott {ott.__version__}, jax {jax.__version__}, geomloss {geomloss.__version__}, pot {ot.__version__}, torch {torch.__version__}"
print(f"n = m = {n}, d = {d}, {T} iterations, {args.threads} threads, load {os.getloadavg()[0]:.1f}; {versions}")
for name in chosen:
    median = float(np.median(seconds[name]))
    ratio = median / float(np.median(seconds["brenier"])) if "brenier" in chosen else float("nan")
    pair = median / (T * 2 * n * n) * 1e9
    spread = f"{min(seconds[name]):.3f}–{max(seconds[name]):.3f}"
    print(f"{name:>15}  {median:8.3f} s ({spread})  {pair:7.3f} ns a pair  {ratio:6.1f} x brenier  dual {duals[name]:.5f}")
