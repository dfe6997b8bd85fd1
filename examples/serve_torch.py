"""Serves a PyTorch model to brenier. Replace `predict`, and say in GREETING what it is; docs/servers.md lists the keys.

    brenier sample --field-command 'python examples/serve_torch.py' --method fm-heun --steps 20
"""
import json
import os
import sys

import numpy as np
import torch

GREETING = {"brenier": 1, "shape": [2], "prediction": "velocity", "schedule": "condot", "batch": 4096}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def predict(x, time):
    """The prediction for points x, n x shape, at times, n of one value: here the velocity towards N(1, 1/4).

    With "prediction": "energy" it gives V, n numbers, without a time; the gradient is taken below.
    """
    alpha = time.reshape(-1, *[1] * (x.ndim - 1))
    return 1 + (alpha / 4 - (1 - alpha)) * (x - alpha) / (alpha**2 / 4 + (1 - alpha) ** 2)


def answer(x, time):
    """Predictions and energies: the gradient is the prediction of an energy, and nothing else has one."""
    if GREETING["prediction"] == "energy":
        energies = predict(x.requires_grad_(), None)
        return torch.autograd.grad(energies.sum(), x)[0], energies.detach()
    with torch.inference_mode():
        return predict(x, torch.full((len(x),), time, device=DEVICE)), torch.zeros(0)


# Standard output carries answers alone: what is printed goes to standard error.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def say(**message):
    print(json.dumps(message), file=answers, flush=True)


say(**GREETING)
for line in sys.stdin:
    call = json.loads(line)
    if call["call"] == 0:
        shapes = {"points": GREETING["shape"], "predictions": GREETING["shape"], "energies": []}
        starts = {key: call[key] for key in shapes if call[key] is not None}
        shared = {key: np.memmap(call["file"], "f4", "r+", at, (call["rows"], *shapes[key])) for key, at in starts.items()}
        say(call=0)
        continue
    try:
        x = torch.from_numpy(np.array(shared["points"][: call["n"]])).to(DEVICE)
        y, energies = answer(x, call["time"])
        if y.shape == x.shape:
            shared["predictions"][: len(y)] = y.float().cpu()
        shared.get("energies", np.zeros(0))[: len(energies)] = energies.float().cpu()
        say(call=call["call"], shape=list(y.shape))
    except Exception as error:
        say(call=call["call"], error=f"{type(error).__name__}: {error}")
