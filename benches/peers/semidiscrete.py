"""Semidiscrete couplings: brenier's ascent beside OTT's, from N(0, I) to the same points.

Both are stopped by their steps, as many as --steps says, of --batch draws; OTT runs Adam on the hard assignment with its moving mean of the
potential. The ruler is the same for both: the L1 error of the masses of the cells by 2^20 fresh draws, of which chance alone, with the
right masses, would leave what the last line says. Times are of the processor, for OTT without its compilation. They are not
yet a margin: OTT's rate (--rate) is not tuned, its time includes its own last judgement, and the draws of brenier, not those of OTT, include
the ones that judge.
"""

import argparse, json, os, platform, resource, subprocess, tempfile, time

parser = argparse.ArgumentParser()
parser.add_argument("--brenier", default="target/release/brenier")
parser.add_argument("--m", type=int, default=2048, help="points")
parser.add_argument("--d", type=int, default=32, help="their dimension")
parser.add_argument("--steps", type=int, default=2000)
parser.add_argument("--batch", type=int, default=1024)
parser.add_argument("--rate", type=float, default=0.1, help="of OTT's Adam, in units of |x-y|^2")
args = parser.parse_args()

import jax, numpy as np, optax
import jax.numpy as jnp
from ott.geometry import semidiscrete_pointcloud
from ott.problems.linear import semidiscrete_linear_problem
from ott.solvers.linear import semidiscrete

draw = np.random.default_rng(0)
centres = draw.normal(size=(10, args.d))
points = (centres[draw.integers(0, 10, args.m)] + 0.5 * draw.normal(size=(args.m, args.d))).astype(np.float32)


def masses_off(g):
    """Sum of |p_j - 1/m| by 2^20 draws, for g in units of |x-y|^2/2."""
    counts, fresh = np.zeros(args.m), np.random.default_rng(1)
    offset = g - 0.5 * (points.astype(np.float64) ** 2).sum(1)
    for _ in range(256):
        x = fresh.normal(size=(4096, args.d))
        counts += np.bincount((x @ points.T + offset).argmax(1), minlength=args.m)
    return np.abs(counts / counts.sum() - 1 / args.m).sum()


def brenier():
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/y.npy", points)
        command = [args.brenier, "couple", f"normal:{args.d}", f"{folder}/y.npy", "--semidiscrete", "--batch", str(args.batch)]
        command += ["--max-iter", str(args.steps), "--tol", "1e-3", "--pairs", "1", "--threads", "1", "--out", f"{folder}/g"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        subprocess.run([*command, "--json", "--quiet"], capture_output=True)
        taken = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
        fit = json.load(open(f"{folder}/g/run.json"))["semidiscrete"]
        return taken, fit["draws"], masses_off(np.load(f"{folder}/g/g.npy").astype(np.float64))


def ott():
    cloud = semidiscrete_pointcloud.SemidiscretePointCloud(jax.random.normal, jnp.asarray(points), epsilon=0.0)
    problem = semidiscrete_linear_problem.SemidiscreteLinearProblem(cloud)
    solver = semidiscrete.SemidiscreteSolver(
        num_iterations=args.steps, batch_size=args.batch, optimizer=optax.adam(args.rate), error_eval_every=args.steps, threshold=0.0
    )
    run = jax.jit(lambda key: solver(key, problem).g)
    run = run.lower(jax.random.key(0)).compile()
    before = time.process_time()
    g = np.asarray(run(jax.random.key(0)), np.float64)
    taken = time.process_time() - before
    return taken, args.steps * args.batch, masses_off(g / 2)


def main():
    with open("/proc/cpuinfo") as lines:
        chip = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    print(f"{chip}, load {os.getloadavg()[0]:.1f}; m = {args.m}, d = {args.d}, {args.steps} steps of {args.batch}")
    for name, run in [("brenier", brenier), ("OTT", ott)]:
        taken, draws, off = run()
        print(f"{name:>8}  {taken:7.1f} s of the processor, {draws:,} draws, masses off by {off:.4f}")
    print(f"  chance  {'':30}{np.sqrt(2 / np.pi * args.m / 2**20):.4f}")


main()
