"""A training step: brenier and torch, eager, on the same network, batch and law.

The network is 4 x 256 with SiLU. Flow matching: d = 2 with 64 sinusoidal features of time, regressed on the velocity between normals
and 8gaussians. Energy Matching: d -> 1 without time, whose gradient in x is in the loss, so that its own gradient is a second one. Both
with Adam, the gradient clipped by its norm, and a running mean of the weights, in f32. Rounds are interleaved. A step of brenier is
the difference of two runs of the command over the difference of their steps, so that starting and judging do not count; times are of
the processor, which others at work on the machine disturb less, and the figure is the median over the rounds.
"""

import argparse, json, math, os, platform, resource, subprocess, tempfile, time

parser = argparse.ArgumentParser()
parser.add_argument("--brenier", action="append", help="program; several are compared with each other (target/release/brenier)")
parser.add_argument("--loss", choices=["flow-matching", "energy-matching"], action="append", help="of both unless given")
parser.add_argument("--steps", type=int, default=150, help="steps that are timed")
parser.add_argument("--rounds", type=int, default=7)
parser.add_argument("--batch", type=int, default=1024)
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--torch", action=argparse.BooleanOptionalAction, default=True)
args = parser.parse_args()
os.environ |= {"OMP_NUM_THREADS": str(args.threads), "OMP_WAIT_POLICY": "passive"}

import numpy as np, torch

torch.set_num_threads(args.threads)
FIRST = 30
centres = 4 * torch.stack([torch.cos(torch.arange(8) * math.pi / 4), torch.sin(torch.arange(8) * math.pi / 4)], 1)
omega = torch.exp(-math.log(1e3) * torch.arange(32) / 32)


def brenier(program, loss):
    folder = tempfile.TemporaryDirectory()

    def seconds(steps):
        command = [program, "train", "8gaussians", "--method", loss, "--steps", str(steps), "--batch", str(args.batch)]
        command += ["--threads", str(args.threads), "--out", folder.name, "--json", "--quiet"]
        command += ["--coupling", "independent", "--contrast-steps", "0"] if loss == "energy-matching" else []
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before

    return lambda: (seconds(FIRST + args.steps) - seconds(FIRST)) / args.steps


def torch_step(loss):
    torch.manual_seed(0)
    widths = [2 + 64, 256, 256, 256, 256, 2] if loss == "flow-matching" else [2, 256, 256, 256, 256, 1]
    layers = [layer for pair in zip(widths[:-1], widths[1:]) for layer in (torch.nn.Linear(*pair), torch.nn.SiLU())]
    net = torch.nn.Sequential(*layers[:-1])
    weights = list(net.parameters())
    means = [weight.detach().clone() for weight in weights]
    adam = torch.optim.Adam(weights, lr=1e-3, fused=True)

    def step():
        x0, t = torch.randn(args.batch, 2), torch.rand(args.batch, 1)
        x1 = centres[torch.randint(8, (args.batch,))] + 0.3 * torch.randn(args.batch, 2)
        x = (1 - t) * x0 + t * x1
        if loss == "flow-matching":
            phase = 1e3 * t * omega
            found = net(torch.cat([x, phase.sin(), phase.cos()], 1))
        else:
            x.requires_grad_()
            found = -torch.autograd.grad(net(x).sum(), x, create_graph=True)[0]
        adam.zero_grad(set_to_none=True)
        (found - (x1 - x0)).square().sum(1).mean().backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        adam.step()
        with torch.no_grad():
            torch._foreach_lerp_(means, weights, 0.001)

    def run():
        for _ in range(FIRST):
            step()
        begun = time.process_time()
        for _ in range(args.steps):
            step()
        return (time.process_time() - begun) / args.steps

    return run


def processor():
    with open("/proc/cpuinfo") as lines:
        return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


print(f"{processor()}, {args.threads} threads, load {os.getloadavg()[0]:.1f}; torch {torch.__version__}; batch {args.batch}")
for loss in args.loss or ["flow-matching", "energy-matching"]:
    peers = {program: brenier(program, loss) for program in args.brenier or ["target/release/brenier"]}
    peers |= {"torch eager": torch_step(loss)} if args.torch else {}
    taken = {name: [] for name in peers}
    for _ in range(args.rounds):
        for name, peer in peers.items():
            taken[name].append(peer())
    last = list(peers)[-1]
    for name in peers:
        ratio = np.median(np.array(taken[name]) / np.array(taken[last]))
        print(f"{loss:>16} {name:>32} {1e3 * np.median(taken[name]):8.2f} ms a step; x {last}: {ratio:.2f}")
