"""A perceptron at many points: brenier and torch, eager, eager in chunks of 2,048 rows, and compiled.

The network is d -> 4 x 256 -> d with SiLU and random weights, the velocity of a flow that each runs by Euler steps from the same
points in f32. Rounds are interleaved, after one to warm up and to compile. Times are medians of an evaluation of all points: by the
clock, and of the processor, which others at work on the machine disturb less.
"""

import argparse, json, os, resource, subprocess, tempfile, time

parser = argparse.ArgumentParser()
parser.add_argument("--brenier", action="append", help="program; several are compared with each other (target/release/brenier)")
parser.add_argument("--n", type=int, default=100_000)
parser.add_argument("--d", type=int, default=2)
parser.add_argument("--steps", type=int, default=10)
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--torch", action=argparse.BooleanOptionalAction, default=True)
args = parser.parse_args()
os.environ |= {"OMP_NUM_THREADS": str(args.threads), "OMP_WAIT_POLICY": "passive"}

import numpy as np, torch
from safetensors.torch import save_file

torch.set_num_threads(args.threads)
torch.manual_seed(0)
widths = [args.d, 256, 256, 256, 256, args.d]
layers = [layer for pair in zip(widths[:-1], widths[1:]) for layer in (torch.nn.Linear(*pair), torch.nn.SiLU())]
net = torch.nn.Sequential(*layers[:-1]).eval()
start = torch.randn(args.n, args.d)
folder = tempfile.TemporaryDirectory()
model, points = f"{folder.name}/model.safetensors", f"{folder.name}/start.npy"
meaning = {"prediction": "velocity", "schedule": "condot", "time": "none"}
save_file(net.state_dict(), model, {"brenier": "mlp", "layers": "0,2,4,6,8", "activation": "silu"} | meaning)
np.save(points, start.numpy())


def brenier(program):
    def run():
        command = [program, "sample", model, "--method", "fm-euler", "--steps", str(args.steps), "--start", points]
        command += ["--threads", str(args.threads), "--device", "cpu", "--out", folder.name, "--json", "--quiet"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        out = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        processor = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
        return out["seconds"], processor, np.load(f"{folder.name}/samples.npy")

    return run


def torch_run(velocity):
    @torch.inference_mode()
    def run():
        x, begun, processor = start, time.perf_counter(), time.process_time()
        for _ in range(args.steps):
            x = x + velocity(x) / args.steps
        return time.perf_counter() - begun, time.process_time() - processor, x.numpy()

    return run


compiled = torch.compile(net)
peers = {program: brenier(program) for program in args.brenier or ["target/release/brenier"]}
if args.torch:
    peers |= {
        "torch eager": torch_run(net),
        "torch eager, chunks": torch_run(lambda x: torch.cat([net(part) for part in x.split(2048)])),
        "torch.compile": torch_run(compiled),
        "torch.compile, chunks": torch_run(lambda x: torch.cat([compiled(part) for part in x.split(2048)])),
    }
taken = {name: [] for name in peers}
ends = {}
for round in range(args.rounds + 1):
    for name, peer in peers.items():
        *seconds, ends[name] = peer()
        if round > 0:
            taken[name].append(np.array(seconds) / args.steps)

first = next(iter(peers))
print(f"n = {args.n}, d = {args.d}, {args.threads} threads, load {os.getloadavg()[0]:.1f}; torch {torch.__version__}")
for name in peers:
    clock, processor = np.median(taken[name], axis=0) * 1e3
    ratios = np.median(np.array(taken[name]) / np.array(taken[first]), axis=0)
    away = np.abs(ends[name] - ends[first]).max()
    times = f"{clock:8.1f} ms, processor {processor:8.1f} ms"
    print(f"{name:>24} {times}; x {first}: {ratios[0]:.2f}, {ratios[1]:.2f}; difference {away:.1e}")
