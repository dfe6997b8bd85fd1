"""What pairs that know their class are worth to a conditional model: 8gaussians to two moons by class.

    python benches/conditions.py target/release/brenier [STEPS]

Trains the same network on independent pairs, on pairs of a plan that is blind to the classes, and on pairs of plans within them, three
seeds each, and prints the error of 5 Euler steps: the root of the Sinkhorn divergence 2S to fresh points of each class, in quadratic mean
over the classes. Needs NumPy; about a minute a network of 5,000 steps on one core.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

BINARY = str(Path(sys.argv[1]).resolve())
STEPS = sys.argv[2] if len(sys.argv) > 2 else "5000"
SOURCE = "8gaussians"
NETWORK = f"--steps {STEPS} --batch 256 --layers 3 --width 128 --rate 2e-3 --withhold 0"


def moons(n, seed):
    """Two moons, three times as large as usual and about the origin, and which is whose."""
    draw = np.random.default_rng(seed)
    angle, label = draw.uniform(0, np.pi, n), draw.integers(0, 2, n)
    x = np.where(label == 0, np.cos(angle), 1 - np.cos(angle))
    y = np.where(label == 0, np.sin(angle), 0.5 - np.sin(angle))
    return 3 * (np.stack([x, y], 1) + 0.05 * draw.normal(size=(n, 2))) - 1, label


def run(folder, args):
    done = subprocess.run([BINARY, *args.split(), "--json"], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{args}: {done.stderr}")
    return json.loads(done.stdout)


def error(folder, seed):
    """Of 5 Euler steps of the network in `model`."""
    squares = []
    for label in (0, 1):
        points, labels = moons(8000, 1000 + seed)
        np.save(folder / "fresh.npy", points[labels == label][:2048])
        np.save(folder / "class.npy", np.full(2048, label))
        run(folder, f"generate {SOURCE} --n 2048 --seed {50 + seed} --out start.npy")
        run(folder, "sample model/model.safetensors --condition class.npy --start start.npy --method fm-euler --steps 5 --out s")
        squares.append(run(folder, "evaluate s/samples.npy fresh.npy --permutations 0")["divergence"])
    return max(np.mean(squares), 0) ** 0.5


def main():
    rows = {"independent": [], "blind": [], "by class": []}
    for seed in range(3):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            points, labels = moons(20000, seed)
            np.save(folder / "moons.npy", points)
            np.save(folder / "labels.npy", labels)
            couple = f"couple {SOURCE} moons.npy --n 20000 --eps 0.02 --pairs 400000 --seed {seed}"
            run(folder, f"{couple} --out blind")
            run(folder, f"{couple} --labels labels.npy --out aware")
            train = f"train moons.npy --source {SOURCE} --labels labels.npy --seed {seed} {NETWORK} --out model"
            for row, pairs in [("independent", ""), ("blind", " --pairs blind"), ("by class", " --pairs aware")]:
                run(folder, train + pairs)
                rows[row].append(error(folder, seed))
                print(f"seed {seed}  {row:12} {rows[row][-1]:.4f}", flush=True)
    for row, errors in rows.items():
        print(f"{row:12} {np.mean(errors):.4f}  ({', '.join(f'{e:.4f}' for e in errors)})")


main()
