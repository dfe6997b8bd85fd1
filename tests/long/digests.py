#!/usr/bin/env python3
"""Digests of what brenier's commands put out, for a change that must alter no result:

    python tests/long/digests.py OLD/brenier > old.txt
    python tests/long/digests.py NEW/brenier > new.txt
    diff old.txt new.txt

Both on one machine: instruction sets round differently. A line is a digest of the record, without its times, and of every array
written. NumPy is needed."""

import hashlib
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np

NETWORK = pathlib.Path(__file__).resolve().parents[1] / "data" / "networks" / "edm.safetensors"

COMMANDS = [
    "generate moons --n 500",
    "generate normal:5 --n 300",
    "generate mixture.json --n 200",
    "generate checkerboard --n 200 --seed 3",
    "transport moons 8gaussians --n 600",
    "transport moons 8gaussians --n 600 --debias --top-k 3",
    "transport x.npy y.npy --blur 0.3 --source-weights a.npy",
    "transport x.npy y.npy --plain --tol 0 --max-iter 50",
    "transport x.npy y.npy --reach 1",
    "transport x.npy y.npy --reach-source 1",
    "transport x.npy y.npy --cost euclidean --debias",
    "transport x.npy y.npy --cost lp:1.5",
    "transport x.npy y.npy --cost cosine",
    "transport x.npy y.npy --exact",
    "transport x.npy y.npy --exact --target-weights b.npy",
    "transport normal:1 line.npy --n 400",
    "transport x.npy y.npy --rank 5 --sliced 50",
    "transport normal:3 normal:3 --closed-form --eps 0.3",
    "transport x.npy y.npy --source-labels lx.npy --target-labels ly.npy --class-costs w.npy",
    "transport x.npy y.npy --storage f16",
    "transport x.npy y.npy --start-subsample 50",
    "transport normal:2 moons --n 9000 --eps 0.02",
    "transport far.npy y.npy",
    "couple normal:3 y.npy --pairs 500",
    "couple x.npy y.npy --batch 100 --without-replacement",
    "barycenter x.npy y.npy --n 60 --steps 5",
    "barycenter x.npy y.npy --n 60 --steps 3 --eps 0.2",
    *(f"sample 8gaussians --n 300 --steps 12 --method {m}" for m in
      "ddpm ddim pf-euler pf-heun annealed-langevin fm-euler fm-heun euler-ancestral dpmpp-2m dpmpp-3m dpmpp-2m-sde dpmpp-sde dpmpp-2s "
      "dpm-2 lms edm-heun edm-euler fm-midpoint fm-heun3 fm-rk4 sit-euler sit-heun langevin".split()),
    *(f"sample 8gaussians --n 300 --method {m}" for m in
      "dopri5 bosh3 dopri8 adaptive-heun dpm-adaptive energy-matching energy-matching-image".split()),
    *(f"sample x.npy --n 200 --steps 40 --method {m}" for m in
      "pc-ve pc-vp pc-subvp ddim fm-heun pf-heun".split()),
    "sample digits --n 64 --steps 20 --method ddpm --schedule ddpm",
    "sample mixture.json --method pf-heun --grid karras --steps 9 --n 100 --trajectory",
    "sample mixture.json --method ddim --eta 0.5 --steps 9 --n 100",
    "sample mixture.json --method edm-heun --churn 20 --steps 9 --n 100",
    "sample network.safetensors --method fm-heun --n 64 --steps 5",
    "sample 8gaussians --method ddpm --particles 10..40 --n 100 --steps 7",
    "geodesic x.npy y.npy --steps 5",
    "geodesic x.npy y.npy --steps 5 --pairs",
    "geodesic moons 8gaussians --n 300 --bridge --eps 0.1 --steps 8",
    "geodesic x.npy y.npy --points x.npy --method heun --steps 8",
    "geodesic x.npy y.npy --points x.npy --method euler --steps 8",
    "jko x.npy --target y.npy --steps 4",
    "jko normal --target 8gaussians --scheme langevin --steps 10 --n 300",
    "jko normal --target mixture.json --scheme langevin --anneal 2 --steps 10 --n 300",
    "jko normal --target moons --scheme semi-unbalanced --tau 0.2 --eps 0.02 --steps 4 --n 300",
    "jko normal --target mixture.json --scheme blob --steps 10 --n 200",
    "jko normal:3 --target x.npy --scheme sinkhorn-flow --steps 4",
    "jko mixture.json --target normal --scheme forward --steps 4 --n 300",
    "jko normal --target moons --scheme ddpm --steps 4 --n 300",
    "jko normal --target mixture.json --scheme implicit --steps 4 --n 200",
    "jko normal:3 --target x.npy --scheme ncsn --steps 10",
    "evaluate x.npy y.npy",
    "evaluate x.npy mixture3.json --n 300",
    "evaluate x.npy y.npy --train far.npy",
    "compare 8gaussians --n 300 --steps 1,2,5",
    "compare moons --source circles --n 300 --steps 1,3",
    "compare x.npy --steps 2,5",
    "compare network.safetensors --target 8gaussians --n 200 --steps 2,5",
]
TIMES = {"seconds", "wall_seconds", "version", "stages", "threads"}


def inputs(folder):
    rng = np.random.default_rng(0)
    save = lambda name, values: np.save(folder / name, values)
    save("x.npy", rng.normal(size=(220, 3)))
    save("y.npy", rng.normal(size=(180, 3)) * [1, 0.5, 2] + [1, 0, 0])
    save("far.npy", rng.normal(size=(150, 3)) + 1e4)
    save("line.npy", rng.exponential(size=(300, 1)))
    save("a.npy", rng.random(220))
    save("b.npy", rng.random(180))
    save("lx.npy", rng.integers(0, 2, 220))
    save("ly.npy", rng.integers(0, 3, 180))
    save("w.npy", np.array([[0, 1, 2], [1, 0, 0.5]]))
    law = lambda d: {"weights": [0.3, 0.7], "means": [[0] * d, [3] * d], "variances": [0.5, 0.2]}
    shutil.copy(NETWORK, folder / "network.safetensors")
    (folder / "mixture.json").write_text(json.dumps(law(2)))
    (folder / "mixture3.json").write_text(json.dumps(law(3)))


def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(kept) for key, kept in value.items() if key not in TIMES}
    return [without_times(kept) for kept in value] if isinstance(value, list) else value


def arrays(folder):
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".npy":
            yield path.name, np.load(path).tobytes()
        elif path.suffix == ".npz":
            yield from ((path.name + name, values.tobytes()) for name, values in sorted(np.load(path).items()))
        elif path.name == "weights.csv":
            yield path.name, path.read_bytes()


def digest(binary, command, precision, folder):
    named = ["--out", "out.npy" if command.startswith("generate") else "out"]
    ran = subprocess.run([binary, *command.split(), *named, "--json", "--quiet", "--device", "cpu", "--precision", precision], cwd=folder,
                         capture_output=True, text=True)
    if ran.returncode:
        return f"exit {ran.returncode}: {(ran.stderr.strip().splitlines() or ['no words'])[-1]}"
    record = without_times(json.loads(ran.stdout))
    # Which flags there are is not a result.
    record.pop("inputs", None)
    sha = hashlib.sha256(json.dumps(record, sort_keys=True).encode())
    for name, values in arrays(folder):
        sha.update(name.encode())
        sha.update(values)
    return sha.hexdigest()[:16]


def main():
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    for command in COMMANDS:
        for precision in ("f32", "f64"):
            with tempfile.TemporaryDirectory() as name:
                folder = pathlib.Path(name)
                inputs(folder)
                print(digest(binary, command, precision, folder), precision, command, flush=True)


main()
