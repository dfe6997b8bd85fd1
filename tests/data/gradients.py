"""Writes gradients.npz: losses of ten perceptrons and their gradients in the weights, by PyTorch in f64.

python -m venv torch && torch/bin/pip install torch==2.15.0 numpy==2.4.6 && torch/bin/python tests/data/gradients.py

Network i has the widths and the activation of NETWORKS. Its weights (each layer's W, then b), the inputs of ROWS rows and what is wanted
there are numbers(i, 0), numbers(i, 1) and numbers(i, 2) of src/train/tests.rs, exact in binary. The arrays are `loss` and `energy_loss`,
one a network, and `gradient_i` and `energy_gradient_i`: of the mean of |F - y|^2, and of that of |dF/dx + y|^2 where the network has one
output and an activation with a second derivative; 0 and empty where not.
"""

import pathlib

import numpy as np, torch

NETWORKS = [
    ([2, 8, 1], "silu"),
    ([3, 7, 5, 1], "tanh"),
    ([1, 9, 9, 1], "softplus"),
    ([2, 6, 6, 6, 1], "gelu"),
    ([4, 5, 1], "gelu-tanh"),
    ([2, 16, 3], "relu"),
    ([5, 6, 4, 2], "silu"),
    ([2, 1, 1], "silu"),
    ([3, 17, 2, 1], "gelu-tanh"),
    ([2, 4, 4, 4, 4, 1], "tanh"),
]
ACTIVATIONS = {
    "relu": torch.relu,
    "silu": torch.nn.functional.silu,
    "tanh": torch.tanh,
    "gelu": torch.nn.functional.gelu,
    "gelu-tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    "softplus": torch.nn.functional.softplus,
}
ROWS = 11


def numbers(network, kind, count):
    k = np.arange(count, dtype=np.int64) + 1000 * kind + 10_000 * network
    return (k * 1_103_515_245 + 12_345) % 2**31 / 2**30 - 1


def forward(layers, activation, x):
    for k, (weight, bias) in enumerate(layers):
        x = x @ weight.T + bias
        if k + 1 < len(layers):
            x = ACTIVATIONS[activation](x)
    return x


arrays, losses, energy_losses = {}, [], []
for i, (widths, activation) in enumerate(NETWORKS):
    pairs = list(zip(widths[:-1], widths[1:]))
    weights = torch.tensor(numbers(i, 0, sum((a + 1) * b for a, b in pairs)), requires_grad=True)
    layers, at = [], 0
    for a, b in pairs:
        layers.append((weights[at : at + a * b].reshape(b, a), weights[at + a * b : at + (a + 1) * b]))
        at += (a + 1) * b
    x = torch.tensor(numbers(i, 1, ROWS * widths[0]).reshape(ROWS, -1), requires_grad=True)
    wanted = torch.tensor(numbers(i, 2, ROWS * widths[-1]).reshape(ROWS, -1))
    loss = (forward(layers, activation, x) - wanted).square().sum(1).mean()
    arrays[f"gradient_{i}"] = torch.autograd.grad(loss, weights, retain_graph=True)[0].numpy()
    losses.append(loss.item())
    if widths[-1] == 1 and activation != "relu":
        wanted = torch.tensor(numbers(i, 2, ROWS * widths[0]).reshape(ROWS, -1))
        slope = torch.autograd.grad(forward(layers, activation, x).sum(), x, create_graph=True)[0]
        loss = (slope + wanted).square().sum(1).mean()
        arrays[f"energy_gradient_{i}"] = torch.autograd.grad(loss, weights)[0].numpy()
        energy_losses.append(loss.item())
    else:
        arrays[f"energy_gradient_{i}"] = np.zeros(0)
        energy_losses.append(0.0)
np.savez(pathlib.Path(__file__).parent / "gradients.npz", loss=losses, energy_loss=energy_losses, **arrays)
