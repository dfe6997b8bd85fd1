"""What large couplings save: Euler steps of a flow, trained or known exactly, on pairs of plans of N points and on independent
ones.

    python benches/couplings.py target/release/brenier plane [STEPS] [TARGETS] [SIZES]
    python benches/couplings.py target/release/brenier affine [POOL]

plane: 8gaussians to the two moons and to the checkerboard. The same network is trained on every kind of pairs; a row is the
divergence of its samples by K Euler steps, as a multiple of the noise floor (in the mean over three sets of 2,048 samples, each
beside as many points), and the fewest steps from which on it stays within 1.5. The loss floor of independent pairs, size 0, is
that of `couple`.

affine: N(0, I) in 32 dimensions to its image by the gradient of max_k (x A_k x / 2 + m_k x), eight pieces with eigenvalues of A_k
from 0.5 to 1.5 and |m_k| = 4, all of one seed: a piecewise-affine optimal map. The pool of POOL points of the target is cut into
batches of N, each coupled with as many draws of the source at EPS. The exact field of such pairs needs no network: with pi_b(j |
x0), proportional to exp((g_j - |x0 - y_j|^2 / 2) / EPS) over the batch b of point j, the plan of that batch for any x0,

    v(x, t) = sum_j w_j (y_j - x) / (1 - t),    w_j ~ exp(-|x_j|^2 / 2) pi_b(j | x_j),    x_j = (x - t y_j) / (1 - t).

A row is how blurred the ends of K Euler steps of it are: the root mean square distance of the points y_j from their mean under
the weights of the last step, over that of the whole target; and the fewest steps from which on it is at most a tenth (once it is
below 0.001 more steps are not tried). The last rows are of networks, trained on independent pairs and on those of the largest
coupling: the distance of the ends of K steps from those of 64, in the same units. Needs NumPy.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

BINARY = str(Path(sys.argv[1]).resolve())


def run(folder, args):
    command = [BINARY, *args.split(), "--json", "--quiet", "--threads", "1"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{args}: {done.stderr}")
    return json.loads(done.stdout)


def fewest(steps, errors, bound):
    """The first of the steps from which on no error exceeds the bound."""
    within = [max(errors[k:]) <= bound for k in range(len(errors))]
    return str(next((step for step, is_within in zip(steps, within) if is_within), f"over {steps[-1]}"))


def line(*cells):
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def head(*cells):
    line(*cells)
    print("|" + "---|" * len(cells))


PLANE = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]


def plane(steps="10000", targets="moons,checkerboard", sizes="0,256,1024,4096,8192"):
    head("target", "pairs", "cost ratio", "loss floor", "steps", *PLANE)
    network = f"--source 8gaussians --steps {steps} --batch 512 --rate 2e-3 --out model"
    for target in targets.split(","):
        for size in map(int, sizes.split(",")):
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                pairs = run(folder, f"couple 8gaussians {target} --n {size or 256} --eps 0.1 --pairs 400000 --out pairs")
                run(folder, f"train {target} {network}" + (" --pairs pairs" if size else ""))
                errors = [np.mean([over_floor(folder, target, k, seed) for seed in range(3)]) for k in PLANE]
            about = [pairs["cost_ratio"], pairs["cfm_loss_floor"]] if size else [1, pairs["cfm_loss_floor_independent"]]
            kind = f"plans of {size:,}" if size else "independent"
            line(target, kind, *(f"{x:.3f}" for x in about), fewest(PLANE, errors, 1.5), *(f"{e:.2f}" for e in errors))


def over_floor(folder, target, k, seed):
    """The divergence of K Euler steps over the noise floor."""
    run(folder, f"generate 8gaussians --n 2048 --seed {50 + seed} --out start.npy")
    run(folder, f"sample model/model.safetensors --start start.npy --method fm-euler --steps {k} --out s")
    judged = run(folder, f"evaluate s/samples.npy {target} --n 2048 --permutations 0 --seed {100 + seed}")
    return judged["divergence"] / judged["noise_floor"]["divergence"]


D = 32
AFFINE = [1, 2, 3, 4, 6, 8]
NETWORK = [1, 2, 4, 8, 12, 16, 24, 32]
SIZES = [256, 1024, 4096, 8192]
EPS = [3.0, 1.0, 0.3]


class Affine:
    """The gradient of max_k (x A_k x / 2 + m_k x)."""

    def __init__(self, draw, pieces=8, far=4.0):
        turns = [np.linalg.qr(draw.normal(size=(D, D)))[0] for _ in range(pieces)]
        self.a = np.array([(turn * draw.uniform(0.5, 1.5, D)) @ turn.T for turn in turns])
        self.m = draw.normal(size=(pieces, D))
        self.m *= far / np.linalg.norm(self.m, axis=1, keepdims=True)

    def __call__(self, x):
        images = np.einsum("nj,kij->nki", x, self.a)
        piece = (0.5 * np.einsum("ni,nki->nk", x, images) + x @ self.m.T).argmax(1)
        return images[np.arange(len(x)), piece] + self.m[piece]


class Exact:
    """The exact field of the plans with the potentials g, a row for each batch of the targets y; g = None: independent pairs."""

    def __init__(self, y, g=None, eps=1.0):
        self.y, self.eps = y.astype(np.float32), eps
        self.size = len(y) if g is None else g.shape[1]
        self.h = None if g is None else (g.reshape(-1) - 0.5 * (y**2).sum(1)).astype(np.float32)

    def log_plan(self, starts, of):
        """log pi_b(j | x_j) for the starts x_j of the points of these indices."""
        if self.h is None:
            return np.zeros(len(of), np.float32)
        out, batch = np.empty(len(of), np.float32), of // self.size
        for b in np.unique(batch):
            rows, columns = np.flatnonzero(batch == b), slice(b * self.size, (b + 1) * self.size)
            scores = (starts[rows] @ self.y[columns].T + self.h[columns]) / self.eps
            own = scores[np.arange(len(rows)), of[rows] - b * self.size].copy()
            most = scores.max(1)
            out[rows] = own - most - np.log(np.exp(scores - most[:, None]).sum(1))
        return out

    def velocity(self, x, t):
        """v(x, t), and the variance of y under the weights."""
        if t == 0:
            return self.at_start(x)
        starts = (x - t * self.y) / np.float32(1 - t)
        normal = -0.5 * (starts**2).sum(1)
        order, best = np.argsort(-normal), -np.inf
        log_weights = np.full(len(self.y), -np.inf, np.float32)
        for some in np.split(order, range(1024, len(order), 1024)):
            if normal[some[0]] < best - 20:  # no plan lifts what the normal has buried
                break
            log_weights[some] = normal[some] + self.log_plan(starts[some], some)
            best = max(best, log_weights[some].max())
        return self.of_weights(np.exp(log_weights - best), x, t)

    def at_start(self, x):
        """At t = 0, where every x_j is x."""
        scores = np.zeros(len(self.y)) if self.h is None else (self.y @ x + self.h) / self.eps
        scores = scores.reshape(-1, self.size)
        weights = np.exp(scores - scores.max(1, keepdims=True))
        return self.of_weights((weights / weights.sum(1, keepdims=True)).reshape(-1), x, 0)

    def of_weights(self, weights, x, t):
        weights = weights / weights.sum()
        mean = weights @ self.y
        return (mean - x) / np.float32(1 - t), weights @ ((self.y - mean) ** 2).sum(1)

    def blur(self, starts, steps):
        variances = []
        for x in starts:
            for k in range(steps):
                velocity, variance = self.velocity(x, k / steps)
                x = x + velocity / np.float32(steps)
            variances.append(variance)
        return np.mean(variances)


def affine(pool="8192", particles=32):
    transport, draw, pool = Affine(np.random.default_rng(0)), np.random.default_rng(1), int(pool)
    x, y = draw.normal(size=(2, 100000, D))
    y = transport(y)
    spread, apart = y.var(0).sum(), ((x - y) ** 2).sum(1).mean()
    print(f"of the map itself the cost ratio is {((transport(x) - x) ** 2).sum(1).mean() / apart:.3f}, the loss floor 0")
    y, starts = y[:pool].astype(np.float32), draw.normal(size=(particles, D)).astype(np.float32)
    head("pairs", "EPS", "entropy", "cost ratio", "loss floor", "steps", *AFFINE)

    def row(cells, steps, errors):
        line(*cells, fewest(steps, errors, 0.1), *(f"{e:.3f}" for e in errors))

    def exact(field):
        errors = []
        for k in AFFINE:
            errors.append(0.0 if errors and errors[-1] < 1e-3 else (field.blur(starts, k) / spread) ** 0.5)
        return errors

    def trained(folder, pairs):
        network = "--source normal:32 --steps 5000 --batch 512 --width 256 --layers 3 --out model"
        run(folder, f"train pool.npy {network} {pairs}")
        np.save(folder / "start.npy", draw.normal(size=(2048, D)))

        def ends(k):
            run(folder, f"sample model/model.safetensors --start start.npy --method fm-euler --steps {k} --out s")
            return np.load(folder / "s/samples.npy")

        truth = ends(64)
        return [(((ends(k) - truth) ** 2).sum(1).mean() / spread) ** 0.5 for k in NETWORK]

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "pool.npy", y)
        for size in [s for s in SIZES if s <= pool]:
            for eps in EPS:
                pairs = run(folder, f"couple normal:32 pool.npy --batch {size} --eps {eps} --pairs {pool} --out pairs")
                if size == SIZES[0] and eps == EPS[0]:
                    row(["independent", "", "1", "1", f"{pairs['cfm_loss_floor_independent']:.1f}"], AFFINE, exact(Exact(y)))
                potentials = []
                for batch in np.split(y, pool // size):
                    np.save(folder / "x.npy", draw.normal(size=(size, D)))
                    np.save(folder / "y.npy", batch)
                    run(folder, f"transport x.npy y.npy --eps {eps} --out plan")
                    potentials.append(np.load(folder / "plan/g.npy"))
                told = [f"{pairs['renormalised_entropy']:.2f}", f"{pairs['cost_ratio']:.3f}", f"{pairs['cfm_loss_floor']:.1f}"]
                row([f"plans of {size:,}", eps, *told], AFFINE, exact(Exact(y, np.array(potentials, np.float64), eps)))
        print()
        head("a network trained on", "steps", *NETWORK)
        row(["independent pairs"], NETWORK, trained(folder, ""))
        row([f"plans of {size:,}, EPS = {eps}"], NETWORK, trained(folder, "--pairs pairs"))


{"plane": plane, "affine": affine}[sys.argv[2]](*sys.argv[3:])
