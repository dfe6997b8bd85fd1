"""How often `evaluate` raises each flag where nothing is wrong: draws of a law beside others of it, and their features.

    python benches/flags.py target/release/brenier [SEEDS]

Of each seed, three independent clouds of 512 points: samples, points held out and a training set. Their features are 8 numbers,
tanh of a fixed linear map with noise of their own. The samples of the last law are made by its exact model (dopri5 along the flow
of flow matching), not drawn. Prints shares in per cent; each flag is meant to be raised in 1 %. Needs NumPy; 200 seeds take six
minutes of one core.
"""

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

BINARY = str(Path(sys.argv[1]).resolve())
SEEDS = int(sys.argv[2]) if len(sys.argv) > 2 else 200
N, D = 512, 8
CENTRES = 3 * np.random.default_rng(1).normal(size=(6, 3))
FLAGS = ["below_floor", "collapsed", "inflated", "memorised", "mode_missing"]


def normal(folder, draw):
    return draw.normal(size=(N, D))


def heavy(folder, draw):
    return draw.standard_t(4, size=(N, D))


def six(folder, draw):
    return CENTRES[draw.integers(0, 6, N)] + draw.normal(size=(N, 3))


def model(folder, draw):
    seed = draw.integers(2**31)
    run(folder, f"sample 8gaussians --method dopri5 --tol 1e-4 --n {N} --seed {seed} --out s")
    return np.load(folder / "s/samples.npy")


def eight(folder, draw):
    run(folder, f"generate 8gaussians --n {N} --seed {draw.integers(2**31)} --out x.npy")
    return np.load(folder / "x.npy")


LAWS = {
    "normal, d = 8": (normal, normal),
    "Student's t of 4 degrees, d = 8": (heavy, heavy),
    "six Gaussians, d = 3": (six, six),
    "8gaussians by its model, d = 2": (model, eight),
}


def run(folder, args):
    command = [BINARY, *args.split(), "--json", "--quiet", "--threads", "1"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{args}: {done.stderr}")
    return json.loads(done.stdout)


def features(points, draw):
    d = points.shape[1]
    return np.tanh(points @ np.random.default_rng(2).normal(size=(d, D)) / 3) + 0.1 * draw.normal(size=(N, D))


def main():
    print("| law | of | " + " | ".join(f"`{flag}`" for flag in FLAGS) + " | any |\n|---|---|" + "---|" * (len(FLAGS) + 1))
    for name, (samples, others) in LAWS.items():
        raised = {"points": Counter(), "features": Counter()}
        for seed in range(SEEDS):
            draw = np.random.default_rng(seed)
            with tempfile.TemporaryDirectory() as folder:
                folder = Path(folder)
                for cloud, law in [("a", samples), ("b", others), ("t", others)]:
                    points = law(folder, draw)
                    np.save(folder / f"{cloud}.npy", points)
                    np.save(folder / f"f{cloud}.npy", features(points, draw))
                judged = "evaluate a.npy b.npy --train t.npy --features fa.npy fb.npy ft.npy --permutations 0"
                record = run(folder, f"{judged} --seed {seed}")
            for of, flags in [("points", record["flags"]), ("features", record["features"]["flags"])]:
                raised[of].update([*flags, "any"] if flags else [])
        for of in raised:
            shares = [f"{100 * raised[of][flag] / SEEDS:.1f}" for flag in [*FLAGS, "any"]]
            print(f"| {name} | {of} | " + " | ".join(shares) + " |", flush=True)


main()
