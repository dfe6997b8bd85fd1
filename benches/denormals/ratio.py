#!/usr/bin/env python3
"""What denormal numbers cost: the user time of every command of the README, and of every kernel of `bench`, over that of the same
with a preloaded library that flushes them to zero.

    cargo build --release && python3 benches/denormals/ratio.py target/release/brenier

A ratio is the median of three pairs, run in turn; above 1.15 it is marked and the exit status is 1. On processors that handle
denormals at full speed (AMD's since Zen) every ratio is one whatever the code does; there, and to find a place, `--trap` prints
the code that meets a denormal first, command by command. A compiler may multiply the payload of an `Option` before it looks
whether there is one: such a place met bits that are not a number, once a call.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROUNDS, MOST = 3, 1.15

COMMANDS = {
    "compare 8gaussians": ["compare", "8gaussians", "--steps", "1,5,20"],
    "compare digits": ["compare", "digits", "--steps", "5"],
    "transport": ["transport", "normal", "8gaussians", "--debias"],
    "transport digits": ["transport", "normal:64", "digits"],
    "transport --exact": ["transport", "normal", "8gaussians", "--exact"],
    "transport --rank": ["transport", "normal:5", "normal:5", "--rank", "10"],
    "couple": ["couple", "normal", "digits", "--pairs", "20000"],
    "sample": ["sample", "digits", "--method", "ddim", "--steps", "50"],
    "geodesic": ["geodesic", "normal", "moons"],
    "jko": ["jko", "normal", "--target", "8gaussians"],
    "barycenter": ["barycenter", "normal", "moons", "circles"],
    "evaluate": ["evaluate", "digits", "digits"],
    "generate": ["generate", "swissroll", "--n", "100000"],
    "selftest": ["selftest"],
}


def library(name, folder):
    """The preloaded library of `name`.c, compiled."""
    made = Path(folder) / f"{name}.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", made, HERE / f"{name}.c"], check=True)
    return str(made)


def environment(preload):
    return dict(os.environ, LD_PRELOAD=preload) if preload else dict(os.environ)


def arguments(command, folder):
    """A command line; `generate` writes a file, `selftest` none."""
    if command[0] == "selftest":
        return command + ["--quiet"]
    return command + ["--quiet", "--out", str(Path(folder) / ("out.npy" if command[0] == "generate" else "out"))]


def user_time(program, command, preload):
    """Seconds of user time of one run in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        done = subprocess.run(
            [program, *arguments(command, folder), "--device", "cpu"], env=environment(preload), capture_output=True, text=True
        )
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr}")
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def kernel_times(program, preload):
    """Seconds an item of each kernel of `bench`, at its largest size."""
    bench = [program, "bench", "--device", "cpu", "--json", "--quiet"]
    done = subprocess.run(bench, env=environment(preload), capture_output=True, text=True, check=True)
    rows = json.loads(done.stdout)["timings"]
    return {f"bench: {row['kernel']}, d = {row['d']}": row["ps_per_item"] * 1e-12 for row in rows}


def report(name, pairs):
    ratio = statistics.median(slow / flushed for slow, flushed in pairs)
    mark = "  <--" if ratio > MOST else ""
    print(f"{name:44} {statistics.median(slow for slow, _ in pairs):10.3g} {ratio:6.2f}{mark}", flush=True)
    return ratio <= MOST


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--trap", action="store_true", help="where denormals arise, instead of what they cost")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.trap:
            for name, command in COMMANDS.items():
                done = subprocess.run(
                    [options.program, *arguments(command, folder), "--device", "cpu"],
                    env=environment(library("trap", folder)),
                    capture_output=True,
                    text=True,
                )
                print(f"== {name}\n" + "\n".join(line for line in done.stderr.splitlines() if "denormal" in line or "(+" in line))
            return
        flush = library("flush", folder)
        print(f"{'':44} {'seconds':>10} {'ratio':>6}")
        fine = []
        for name, command in COMMANDS.items():
            times = [tuple(user_time(options.program, command, preload) for preload in (None, flush)) for _ in range(ROUNDS)]
            fine.append(report(name, times))
        kernels = [tuple(kernel_times(options.program, preload) for preload in (None, flush)) for _ in range(ROUNDS)]
        fine += [report(name, [(slow[name], flushed[name]) for slow, flushed in kernels]) for name in kernels[0][0]]
        sys.exit(0 if all(fine) else 1)


if __name__ == "__main__":
    main()
