"""DDIM over the exact field of an isotropic mixture: brenier, JAX, torch by hand, diffusers.

The mixture is that of benches/interpret.rs: K components, mean_k = (2 sin k, 2 sin 2k, …), variance 0.05 + 0.02 k, linear VP with
beta in [0.1, 20] on a uniform grid. brenier, JAX and torch start from the same points, so their end points are compared as well;
diffusers has its own table of 1,000 levels and shares only the work. Rounds are interleaved, after one to warm up; medians.
"""

import argparse, json, math, os, subprocess, tempfile, time

parser = argparse.ArgumentParser()
parser.add_argument("--brenier", default="target/release/brenier")
parser.add_argument("--n", type=int, default=100_000)
parser.add_argument("--d", type=int, default=2)
parser.add_argument("--k", type=int, default=8)
parser.add_argument("--steps", type=int, default=20)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--threads", type=int, default=2)
args = parser.parse_args()
os.environ |= {"OMP_NUM_THREADS": str(args.threads), "OMP_WAIT_POLICY": "passive", "HF_HUB_OFFLINE": "1"}

import diffusers, jax, jax.numpy as jnp, numpy as np, torch

torch.set_num_threads(args.threads)
diffusers.logging.set_verbosity_error()
n, d, K, steps = args.n, args.d, args.k, args.steps
means = np.array([[2 * math.sin(k * (i + 1)) for i in range(d)] for k in range(K)])
variances = 0.05 + 0.02 * np.arange(K)
start = np.random.default_rng(0).standard_normal((n, d)).astype(np.float32)
folder = tempfile.TemporaryDirectory()
np.save(f"{folder.name}/start.npy", start)
mixture = {"weights": [1 / K] * K, "means": means.tolist(), "variances": variances.tolist()}
open(f"{folder.name}/mixture.json", "w").write(json.dumps(mixture))


def levels():
    u = 1 - np.arange(steps + 1) / steps
    exponent = 0.1 * u + 0.5 * 19.9 * u * u
    return np.exp(-exponent / 2), np.sqrt(-np.expm1(-exponent))


def brenier():
    command = [args.brenier, "sample", f"{folder.name}/mixture.json", "--method", "ddim", "--steps", str(steps)]
    command += ["--start", f"{folder.name}/start.npy", "--threads", str(args.threads), "--out", folder.name, "--json", "--quiet"]
    out = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return out["seconds"], np.load(f"{folder.name}/samples.npy")


def logits(S, x, alpha, mu, constant):
    """Responsibilities in the form of one matrix product."""
    return constant + x @ (alpha * mu / S[:, None]).T - 0.5 * (x * x).sum(1)[:, None] / S


mu32, V32 = jnp.asarray(means, jnp.float32), jnp.asarray(variances, jnp.float32)


@jax.jit
def scan(x, grid):
    def step(x, level):
        alpha, sigma, alpha_to, sigma_to = level
        S = alpha**2 * V32 + sigma**2
        constant = -0.5 * d * jnp.log(S) - 0.5 * alpha**2 * (mu32 * mu32).sum(1) / S
        q = jax.nn.softmax(logits(S, x, alpha, mu32, constant), axis=1) / S
        noise = sigma * (x * q.sum(1, keepdims=True) - alpha * (q @ mu32))
        return alpha_to / alpha * (x - sigma * noise) + sigma_to * noise, None

    return jax.lax.scan(step, x, grid)[0]


def jax_scan():
    alpha, sigma = levels()
    grid = tuple(jnp.asarray(v, jnp.float32) for v in (alpha[:-1], sigma[:-1], alpha[1:], sigma[1:]))
    x = jnp.asarray(start)
    begun = time.perf_counter()
    end = jax.block_until_ready(scan(x, grid))
    return time.perf_counter() - begun, np.asarray(end)


mu, V = torch.tensor(means, dtype=torch.float32), torch.tensor(variances, dtype=torch.float32)


def torch_noise(x, alpha, sigma):
    S = alpha**2 * V + sigma**2
    constant = -0.5 * d * torch.log(S) - 0.5 * alpha**2 * (mu * mu).sum(1) / S
    q = torch.softmax(logits(S, x, alpha, mu, constant), 1) / S
    return sigma * (x * q.sum(1, keepdim=True) - alpha * (q @ mu))


@torch.no_grad()
def torch_loop():
    alpha, sigma = levels()
    x = torch.from_numpy(start)
    begun = time.perf_counter()
    for a, s, a_to, s_to in zip(alpha[:-1], sigma[:-1], alpha[1:], sigma[1:]):
        noise = torch_noise(x, float(a), float(s))
        x = float(a_to / a) * (x - float(s) * noise) + float(s_to) * noise
    return time.perf_counter() - begun, x.numpy()


@torch.no_grad()
def diffusers_ddim():
    scheduler = diffusers.DDIMScheduler(clip_sample=False)
    x = torch.from_numpy(start)
    begun = time.perf_counter()
    scheduler.set_timesteps(steps)
    for t in scheduler.timesteps:
        product = float(scheduler.alphas_cumprod[int(t)])
        x = scheduler.step(torch_noise(x, math.sqrt(product), math.sqrt(1 - product)), t, x).prev_sample
    return time.perf_counter() - begun, None


peers = {"brenier": brenier, "jax scan": jax_scan, "torch loop": torch_loop, "diffusers ddim": diffusers_ddim}
seconds = {name: [] for name in peers}
ends = {}
for round in range(args.rounds + 1):
    for name, peer in peers.items():
        taken, ends[name] = peer()
        if round > 0:
            seconds[name].append(taken)

versions = f"jax {jax.__version__}, torch {torch.__version__}, diffusers {diffusers.__version__}"
print(f"n = {n}, d = {d}, K = {K}, {steps} steps, {args.threads} threads, load {os.getloadavg()[0]:.1f}; {versions}")
for name in peers:
    median = float(np.median(seconds[name]))
    step = median / (n * steps) * 1e9
    ratio = median / float(np.median(seconds["brenier"]))
    away = "" if ends[name] is None else f"median distance to brenier {np.median(np.linalg.norm(ends[name] - ends['brenier'], axis=1)):.1e}"
    spread = f"{min(seconds[name]):.4f}–{max(seconds[name]):.4f}"
    print(f"{name:>15}  {median:8.4f} s ({spread})  {step:7.2f} ns a particle-step  {ratio:6.1f} x brenier  {away}")
