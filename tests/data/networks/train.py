"""Trains two perceptrons on the plane in NumPy: the velocity on condot, and v on linear-vp.

brenier generate 8gaussians --n 20000 --out data.npy && pip install numpy==2.4.6 safetensors==0.8.0 && python train.py data.npy
"""
import sys
import numpy as np
from safetensors.numpy import save_file

STEPS, BATCH, WIDTH, RATE = 20_000, 512, 64, 4e-3
OMEGA = np.pi * np.array([0.5, 1.0, 2.0, 4.0])
data = np.load(sys.argv[1]).astype(np.float64)


def level(schedule, t):
    if schedule == "condot":
        return t, 1 - t
    integral = 0.1 * (1 - t) + 0.5 * 19.9 * (1 - t) ** 2
    return np.exp(-integral / 2), np.sqrt(-np.expm1(-integral))


def silu(x):
    gate = 1 / (1 + np.exp(-x))
    return x * gate, gate * (1 + x * (1 - gate))


def forward(layers, x, t):
    """Prediction, the inputs of each layer, and the slopes of the activations between them."""
    inputs, slopes = [np.concatenate([x, np.sin(OMEGA * t), np.cos(OMEGA * t)], 1)], []
    for weight, bias in layers[:-1]:
        state, slope = silu(inputs[-1] @ weight.T + bias)
        inputs.append(state)
        slopes.append(slope)
    return inputs[-1] @ layers[-1][0].T + layers[-1][1], inputs, slopes


for name, prediction, schedule in [("eight-velocity", "velocity", "condot"), ("eight-v", "v", "linear-vp")]:
    rng = np.random.default_rng(0)
    sizes = [2 + 2 * len(OMEGA), WIDTH, WIDTH, WIDTH, 2]
    layers = [[rng.normal(size=(b, a)) / np.sqrt(a), np.zeros(b)] for a, b in zip(sizes, sizes[1:])]
    moments = [[[np.zeros_like(p), np.zeros_like(p)] for p in layer] for layer in layers]
    for step in range(1, STEPS + 1):
        x1, noise, t = data[rng.integers(len(data), size=BATCH)], rng.normal(size=(BATCH, 2)), rng.random((BATCH, 1))
        alpha, sigma = level(schedule, t)
        target = x1 - noise if prediction == "velocity" else alpha * noise - sigma * x1
        found, inputs, slopes = forward(layers, alpha * x1 + sigma * noise, t)
        back = 2 * (found - target) / BATCH
        rate = RATE * 0.5 * (1 + np.cos(np.pi * step / STEPS))
        for k in reversed(range(len(layers))):
            gradients = [back.T @ inputs[k], back.sum(0)]
            if k > 0:
                back = back @ layers[k][0] * slopes[k - 1]
            for p, g, (m, v) in zip(layers[k], gradients, moments[k]):
                m += 0.1 * (g - m)
                v += 0.001 * (g * g - v)
                p -= rate * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    print(f"{name}: loss {np.mean((found - target) ** 2):.4f}")
    layers = [[p.astype(np.float16) for p in layer] for layer in layers]
    tensors = {f"{2 * k}.{part}": p for k, layer in enumerate(layers) for part, p in zip(["weight", "bias"], layer)}
    tensors["frequencies"] = OMEGA.astype(np.float32)
    t, x = np.linspace(0, 1, 8).astype(np.float32), rng.normal(size=(8, 2)).astype(np.float32)
    wide = [[p.astype(np.float64) for p in layer] for layer in layers]
    tensors |= {"check.x": x, "check.t": t, "check.y": forward(wide, x, t[:, None])[0].astype(np.float32)}
    meaning = {"prediction": prediction, "schedule": schedule, "time": "sinusoidal", "clock": "t"}
    save_file(tensors, f"{name}.safetensors", {"brenier": "mlp", "layers": "0,2,4,6", "activation": "silu"} | meaning)
