#!/usr/bin/env python3
"""The ruler of `brenier evaluate` at its null and under known faults: tables of score over floor, of false flags and of powers.

Usage: python3 tests/long/ruler.py PATH/TO/brenier [floor|null|power]...; needs numpy. Exit 0 where every number is within its
limits: score over floor 1 within 5 % and 3 standard errors of its mean, a flag on at most 10 of 200 independent samples, a fault
raised in 95 %.
"""
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np

BIN = os.path.abspath(sys.argv[1])
FLAGS = ("below_floor", "collapsed", "inflated", "memorised", "mode_missing")
WORKERS = os.cpu_count()


def eight(n, d, rng, modes=8):
    """Points of `modes` of eight Gaussians on a circle of radius 4 in the first two coordinates, deviation 0.5 in all."""
    angle = rng.integers(modes, size=n) * np.pi / 4
    x = 0.5 * rng.standard_normal((n, d))
    x[:, 0] += 4 * np.cos(angle)
    x[:, 1] += 4 * np.sin(angle)
    return x


LAWS = {
    "normal": lambda n, d, rng: rng.standard_normal((n, d)),
    "t3": lambda n, d, rng: rng.standard_t(3, (n, d)),
    "8gaussians": eight,
}


def digits():
    """The embedded digits."""
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/digits.npy"
        subprocess.run([BIN, "generate", "digits", "--out", out, "--quiet"], check=True, capture_output=True)
        return np.unique(np.load(out), axis=0)


def evaluate(a, b, train=None, seed=0):
    """The record of `brenier evaluate` of points, or of a named law."""
    with tempfile.TemporaryDirectory() as folder:
        args = [BIN, "evaluate"]
        for name, points in (("a", a), ("b", b), ("train", train)):
            if points is None:
                continue
            if not isinstance(points, str):
                np.save(f"{folder}/{name}.npy", points)
                points = f"{folder}/{name}.npy"
            args += ["--train", points] if name == "train" else [points]
        run = subprocess.run(args + ["--permutations", "0", "--json", "--threads", "1", "--seed", str(seed)], capture_output=True, text=True)
        if run.returncode:
            sys.exit(f"exit {run.returncode}: {run.stderr}")
        return json.loads(run.stdout)


def over_seeds(work, seeds):
    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(work, range(seeds)))


def floors():
    """Mean score over floor of independent clouds."""
    good, data = True, digits()
    cases = [(law, d) for law in LAWS for d in (1, 2, 5, 8, 32, 64) if law != "8gaussians" or d > 1] + [("digits", 64)]
    print("law            d    n     m  divergence/floor ± se   W2 exact/floor ± se")
    for law, d in cases:
        for n, m in ((400, 400), (200, 600), (300, 1000), (1000, 300)):
            def work(seed):
                rng = np.random.default_rng(seed)
                both = data[rng.permutation(len(data))[: n + m]] if law == "digits" else LAWS[law](n + m, d, rng)
                found = evaluate(both[:n], both[n:], seed=seed)
                return [found[key] / found["noise_floor"][key] for key in ("divergence", "w2_squared_exact")]

            seeds = int(os.environ.get("SEEDS", 200 if d < 5 else 40))
            ratios = np.array(over_seeds(work, seeds))
            mean, error = ratios.mean(0), ratios.std(0) / np.sqrt(len(ratios))
            # Heavy tails have no variance that a set of points could tell.
            right = law == "t3" or (np.abs(mean - 1) < 0.05 + 3 * error).all()
            good &= right
            print(f"{law:12}{d:4}{n:6}{m:6}   {mean[0]:.3f} ± {error[0]:.3f}        {mean[1]:.3f} ± {error[1]:.3f}"
                  f"{'' if right else '   OFF'}", flush=True)
    return good


def nulls():
    """Flags of independent samples, of 200 seeds."""
    good, data = True, digits()
    print("law            d    n     m  train  " + "  ".join(FLAGS))
    laws = [(law, d) for law in ("normal", "t3") for d in (1, 2, 32)] + [("8gaussians", 2), ("8gaussians", 64), ("digits", 64)]
    cases = [(law, d, *sizes, train) for law, d in laws for *sizes, train in ((200, 200, False), (300, 700, False), (500, 200, True))]
    for law, d, n, m, train in cases:
        def work(seed):
            rng = np.random.default_rng(seed)
            size = n + m + (400 if train else 0)
            both = data[rng.permutation(len(data))[:size]] if law == "digits" else LAWS[law](size, d, rng)
            return evaluate(both[:n], both[n:n + m], both[n + m:] if train else None, seed)["flags"]

        seeds = int(os.environ.get("SEEDS", 200))
        counts = [sum(flag in flags for flags in raised) for raised in [over_seeds(work, seeds)] for flag in FLAGS]
        right = max(counts) <= seeds // 20
        good &= right
        print(f"{law:12}{d:4}{n:6}{m:6}  {train!s:5}" + "".join(f"{count:11}" for count in counts)
              + ("" if right else "   TOO MANY"), flush=True)
    return good


def powers():
    """Faults raised, n = m = 2,048."""
    good, n = True, 2048
    seeds = int(os.environ.get("SEEDS", 40))
    print("fault                          law            d   raised")
    for d in (2, 64):
        for law in ("normal", "8gaussians"):
            draw = LAWS[law]

            def shrunk(rng):
                a = draw(n, d, rng)
                return np.sqrt(0.85) * (a - a.mean(0)) + a.mean(0), draw(n, d, rng), None

            def copied(rng):
                train, copies = draw(n, d, rng), 3 * n // 10
                return np.concatenate([draw(n - copies, d, rng), train[rng.permutation(n)[:copies]]]), draw(n, d, rng), train

            def copied_from_b(rng):
                b, copies = draw(n, d, rng), 3 * n // 10
                return np.concatenate([draw(n - copies, d, rng), b[rng.permutation(n)[:copies]]]), b, None

            faults = [("15 % of the variance lost", "collapsed", shrunk), ("30 % copies of training", "memorised", copied),
                      ("30 % copies of B", "memorised", copied_from_b)]
            if law == "8gaussians":
                faults.append(("one mode of eight lost", "mode_missing", lambda rng: (eight(n, d, rng, 7), eight(n, d, rng), None)))
            for name, flag, make in faults:
                raised = over_seeds(lambda seed: flag in evaluate(*make(np.random.default_rng(seed)), seed)["flags"], seeds)
                right = np.mean(raised) >= 0.95
                good &= right
                print(f"{name:30} {law:12}{d:4}   {sum(raised)} of {seeds}{'' if right else '   TOO FEW'}", flush=True)
    return good


if __name__ == "__main__":
    parts = {"floor": floors, "null": nulls, "power": powers}
    results = [parts[part]() for part in sys.argv[2:] or parts]
    sys.exit(0 if all(results) else 1)
