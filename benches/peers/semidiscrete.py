"""Semidiscrete couplings: brenier's ascent beside OTT's, from N(0, I) to the same points, by the time to a marginal error.

The error is the root of chi^2 = sum_j (p_j - 1/m)^2 m of the masses p of the cells, by the unbiased estimate from 2^19 draws that
neither has seen, the same for both. It is taken between the stretches of a run, off the clock. Times are of one processor core
that both are pinned to.

OTT runs its own solver's step, compiled before the clock starts, with its own error never computed. Its optimiser is Adam, and
the best is taken, for each error by itself, over every rate of --rates: constant, with a running mean of the potential in which
the newest has the weight 0.99 (OTT's default, next to none), 0.01 or 0.003; and falling to 0 as a cosine over each length of the
ladder. brenier has nothing to tune; its time is that of the whole process, with the draws by which it judges itself, and so are
its draws. It is run again for each length, and has no credit for a stop between two of them.
"""

import argparse, json, os, resource, subprocess, tempfile, time

parser = argparse.ArgumentParser()
parser.add_argument("--brenier", default="target/release/brenier")
parser.add_argument("--m", type=int, default=2048, help="points")
parser.add_argument("--d", type=int, default=32, help="their dimension")
parser.add_argument("--batch", type=int, default=1024)
parser.add_argument("--ladder", type=int, nargs="+", default=[125, 250, 500, 1000, 2000, 4000], help="steps")
parser.add_argument("--rates", type=float, nargs="+", default=[0.03, 0.1, 0.3, 1], help="of OTT's Adam, in units of |x-y|^2")
parser.add_argument("--errors", type=float, nargs="+", default=[0.4, 0.2, 0.1, 0.05])
args = parser.parse_args()
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import jax, numpy as np, optax
import jax.numpy as jnp
from ott.geometry import semidiscrete_pointcloud
from ott.problems.linear import semidiscrete_linear_problem
from ott.solvers.linear import semidiscrete

draw = np.random.default_rng(0)
centres = draw.normal(size=(10, args.d))
points = (centres[draw.integers(0, 10, args.m)] + 0.5 * draw.normal(size=(args.m, args.d))).astype(np.float32)
fresh = np.random.default_rng(1).normal(size=(2**19, args.d)).astype(np.float32)


def error(g):
    """The root of chi^2 for g in units of |x-y|^2/2."""
    counts = np.zeros(args.m)
    offset = (g - 0.5 * (points.astype(np.float64) ** 2).sum(1)).astype(np.float32)
    for x in np.split(fresh, 128):
        counts += np.bincount((x @ points.T + offset).argmax(1), minlength=args.m)
    n = len(fresh)
    return max(args.m * (counts * (counts - 1)).sum() / (n * (n - 1)) - 1, 0) ** 0.5


def brenier(steps):
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/y.npy", points)
        command = [args.brenier, "couple", f"normal:{args.d}", f"{folder}/y.npy", "--semidiscrete", "--batch", str(args.batch)]
        command += ["--max-iter", str(steps), "--tol", "1e-4", "--pairs", "1", "--threads", "1", "--out", f"{folder}/g"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*command, "--json", "--quiet"], capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        fit = json.load(open(f"{folder}/g/run.json"))["semidiscrete"]
        g = np.load(f"{folder}/g/g.npy").astype(np.float64)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, fit["draws"], error(g)


def ott(rate, ema, lengths):
    """Time, draws and error at each of the lengths of one run; rate is a number, or optax's schedule."""
    cloud = semidiscrete_pointcloud.SemidiscretePointCloud(jax.random.normal, jnp.asarray(points), epsilon=0.0)
    problem = semidiscrete_linear_problem.SemidiscreteLinearProblem(cloud)
    solver = semidiscrete.SemidiscreteSolver(
        num_iterations=lengths[-1],
        batch_size=args.batch,
        optimizer=optax.adam(rate),
        error_eval_every=lengths[-1],
        potential_ema=ema,
    )
    g, blank = jnp.zeros(args.m), jnp.full(lengths[-1], jnp.inf)
    state = semidiscrete.SemidiscreteState(
        it=jnp.array(0), epsilon=jnp.array(jnp.nan), g=g, g_ema=g, opt_state=solver.optimizer.init(g),
        losses=blank, grad_norms=blank, errors=jnp.full(1, jnp.inf),
    )

    def stretch(state, last):
        advance = lambda state: solver.step(jax.random.fold_in(jax.random.key(0), state.it), state, problem)
        return jax.lax.while_loop(lambda state: state.it < last, advance, state)

    compiled, taken = jax.jit(stretch).lower(state, lengths[0]).compile(), 0.0
    for length in lengths:
        before = time.process_time()
        state = jax.block_until_ready(compiled(state, length))
        taken += time.process_time() - before
        yield taken, length * args.batch, error(np.asarray(state.g_ema, np.float64) / 2)


def settings():
    for rate in args.rates:
        for ema in (0.99, 0.01, 0.003):
            yield f"Adam {rate:g}, new weight {ema}", rate, ema, args.ladder
        for length in args.ladder:
            yield f"Adam {rate:g}, cosine of {length}", optax.cosine_decay_schedule(rate, length), 0.99, [length]


def first(looks, wanted):
    return next(((taken, draws) for taken, draws, off in looks if off <= wanted), (np.inf, 0))


def main():
    with open("/proc/cpuinfo") as lines:
        about = dict(line.split(":", 1) for line in lines if ":" in line)
    about = {key.strip(): value.strip() for key, value in about.items()}
    chip = f"{about['model name']}, family {about['cpu family']}, load {os.getloadavg()[0]:.1f}"
    print(f"{chip}; m = {args.m}, d = {args.d}, batch {args.batch}")
    ours = [brenier(steps) for steps in args.ladder]
    theirs = {}
    for name, rate, ema, lengths in settings():
        theirs[name] = list(ott(rate, ema, lengths))
        print(f"  {name:28} " + "  ".join(f"{taken:.1f} s {off:.3f}" for taken, _, off in theirs[name]), flush=True)
    ours = [min(pair) for pair in zip(ours, [brenier(steps) for steps in args.ladder])]
    print(f"  {'brenier':28} " + "  ".join(f"{taken:.1f} s {off:.3f}" for taken, _, off in ours))
    print("| error | brenier | draws | OTT at its best | draws | its setting | ratio |\n|---|---|---|---|---|---|---|")
    for wanted in args.errors:
        (taken, draws), (name, (best, theirs_draws)) = first(ours, wanted), min(
            ((name, first(looks, wanted)) for name, looks in theirs.items()), key=lambda row: row[1]
        )
        print(f"| {wanted:g} | {taken:.2f} s | {draws:,} | {best:.2f} s | {theirs_draws:,} | {name} | {best / taken:.1f} |")


main()
