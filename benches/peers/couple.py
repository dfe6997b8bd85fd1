"""Pairs for flow matching at 50,000 x 3,072, beside POT's minibatch coupling of as many.

The target is of Gaussians whose spectrum falls as 1/k, as that of pictures does, the source N(0, I). brenier couples all of it by
one plan, the cost on 64 principal components; its time and memory are those of the whole process, which reads the points, draws
the source, finds the components and eps, and writes the pairs. POT solves the exact plan (ot.emd) of each batch of --batch, from
arrays in memory to arrays in memory: neither reading, drawing nor writing is on its clock. Times are of the processor. The gain
is E x0.x1, which is all that a coupling changes of E|x1 - x0|^2, over the largest there is: that of the linear map between the
two Gaussians.
"""

import argparse, json, os, subprocess, tempfile, time

import numpy as np
import ot

parser = argparse.ArgumentParser()
parser.add_argument("--brenier", default="target/release/brenier")
parser.add_argument("--n", type=int, default=50_000)
parser.add_argument("--d", type=int, default=3072)
parser.add_argument("--batch", type=int, nargs="+", default=[256, 512])
parser.add_argument("--data", help="where to keep the target; written there if missing")
args = parser.parse_args()
SPREAD = np.arange(1, args.d + 1) ** -0.5


def target(path):
    draw = np.random.default_rng(0)
    turn = np.linalg.qr(draw.normal(size=(args.d, args.d)))[0].astype(np.float32)
    out = np.lib.format.open_memmap(path, "w+", "<f4", (args.n, args.d))
    for rows in np.array_split(np.arange(args.n), max(args.n // 5000, 1)):
        out[rows] = (draw.normal(size=(len(rows), args.d)).astype(np.float32) * SPREAD.astype(np.float32)) @ turn


def gain(scalar_products):
    """Of E x0.x1, which is all that a coupling moves, over the largest: the sum of the standard deviations."""
    return scalar_products / SPREAD.sum()


def brenier(path, folder):
    command = [args.brenier, "couple", f"normal:{args.d}", path, "--n", str(args.n), "--project", "pca:64"]
    command += ["--pairs", str(args.n), "--threads", "1", "--out", f"{folder}/pairs", "--json", "--quiet"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    record = json.loads(process.stdout.read())
    _, _, usage = os.wait4(process.pid, 0)
    return record, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20


def pot(y, batch):
    draw, taken, products = np.random.default_rng(1), 0.0, []
    weights = np.full(batch, 1 / batch)
    for first in range(0, args.n - batch + 1, batch):
        x0, x1 = draw.normal(size=(batch, args.d)).astype(np.float32), np.array(y[first : first + batch])
        before = time.process_time()
        partner = ot.emd(weights, weights, ot.dist(x0, x1)).argmax(1)
        x1 = x1[partner]
        taken += time.process_time() - before
        products.append((x0 * x1).sum(1).mean())
    return taken * args.n / (len(products) * batch), np.mean(products)


def main():
    with open("/proc/cpuinfo") as lines:
        about = dict(line.split(":", 1) for line in lines if ":" in line)
    about = {key.strip(): value.strip() for key, value in about.items()}
    chip = f"{about['model name']}, family {about['cpu family']}, load {os.getloadavg()[0]:.1f}"
    print(f"{chip}; {args.n:,} pairs, d = {args.d}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = args.data or f"{folder}/y.npy"
        if not os.path.exists(path):
            target(path)
        y = np.load(path, mmap_mode="r")
        for batch in args.batch:
            taken, products = pot(y, batch)
            print(f"POT, batches of {batch}: {taken:.1f} s, gain {gain(products):.3f}", flush=True)
        record, taken, peak = brenier(path, folder)
        products = (record["independent_cost"] - record["pair_cost"]) / 2
        told = f"variance kept {record['projection']['variance_kept']:.3f}, eps {record['eps']:.3g}"
        print(f"brenier: {taken:.1f} s, {peak:.2f} GiB, gain {gain(products):.3f}; {told}")


main()
