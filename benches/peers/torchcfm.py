"""An epoch of flow matching on minibatch couplings: brenier.torchcfm.OTPlanSampler against torchcfm's, in the same loop.

`pip install brenier torchcfm torch`, then `python benches/peers/torchcfm.py`. The loop is that of python/examples/train_flow.py:
a network of 2 x 128 with SiLU, Adam, normals to 8gaussians in f32. Epochs of both samplers alternate, on one thread each; the
ratio is the median over the rounds, of the clock and of the processor's time, which others at work on the machine disturb less.
An epoch without couplings tells how much of the time is the network's. The cost of the pairs that both drew is printed beside: it
is the same where both plans are optimal, up to the draw.
"""

import argparse, os, sys, time, warnings
from statistics import median

sys.path.pop(0)  # this folder, whose files are called as what they measure
os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}

import numpy as np, torch, torchcfm.optimal_transport as theirs
import brenier, brenier.torchcfm as ours

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--batch", type=int, action="append", help="256 and 4096 unless given")
parser.add_argument("--method", default="exact", choices=["exact", "sinkhorn"])
parser.add_argument("--reg", type=float, default=0.5, help="of sinkhorn, in units of |x - y|^2")
parser.add_argument("--points", type=int, default=16384, help="of an epoch")
parser.add_argument("--rounds", type=int, default=3)
args = parser.parse_args()
torch.set_num_threads(1)
brenier.set_threads(1)
torch.manual_seed(0)
np.random.seed(0)
data = torch.from_numpy(brenier.points("8gaussians", args.points, seed=1)).float()
network = torch.nn.Sequential(
    torch.nn.Linear(3, 128), torch.nn.SiLU(), torch.nn.Linear(128, 128), torch.nn.SiLU(), torch.nn.Linear(128, 2)
)
adam = torch.optim.Adam(network.parameters(), lr=2e-3)


def epoch(sampler, batch):
    clock, processor, cost = time.perf_counter(), time.process_time(), 0.0
    for chosen in torch.randperm(len(data)).split(batch):
        x1 = data[chosen]
        x0 = torch.randn_like(x1)
        if sampler is not None:
            x0, x1 = sampler.sample_plan(x0, x1)
        t = torch.rand(len(x0), 1)
        loss = (network(torch.cat([(1 - t) * x0 + t * x1, t], dim=1)) - (x1 - x0)).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        cost += (x1 - x0).square().sum().item() / len(data)
    return np.array([time.perf_counter() - clock, time.process_time() - processor, cost])


model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")
print(
    f"processor: {model}; load {os.getloadavg()[0]:.1f}; torch {torch.__version__}, brenier {brenier.__version__}; {args.method}"
)
print(f"{'batch':>6} {'sampler':<10} {'s/epoch':>9} {'cpu s':>9} {'mean |x1-x0|^2':>15}")
warnings.filterwarnings("ignore", message="numItermax")  # POT's simplex gives up at 4,096, and the time that it took counts
for batch in args.batch or [256, 4096]:
    samplers = {"none": None} | {
        name: library.OTPlanSampler(args.method, reg=args.reg) for name, library in (("torchcfm", theirs), ("brenier", ours))
    }
    rounds = [{name: epoch(sampler, batch) for name, sampler in samplers.items()} for _ in range(args.rounds)]
    for name in samplers:
        clock, processor, cost = np.median([of[name] for of in rounds], axis=0)
        print(f"{batch:>6} {name:<10} {clock:9.3f} {processor:9.3f} {cost:15.4f}")
    ratio = [median(of["torchcfm"][k] / of["brenier"][k] for of in rounds) for k in (0, 1)]
    print(f"{batch:>6} torchcfm's epoch is {ratio[0]:.2f} times brenier's by the clock, {ratio[1]:.2f} times by the processor")
