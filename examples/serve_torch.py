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


def predict(x, time, condition):
    """The prediction for points x, n x shape, at times, n of one value: here the velocity towards N(1, 1/4). With "condition": c
    in GREETING, condition is n x c, else None. Of an energy it gives V, n numbers, with time None."""
    alpha, sigma = time[:, None], 1 - time[:, None]
    return 1 + (alpha / 4 - sigma) * (x - alpha) / (alpha**2 / 4 + sigma**2)


def answer(x, time, condition=None):
    """Predictions and energies: the prediction of an energy is its gradient, and nothing else has energies."""
    if GREETING["prediction"] == "energy":
        energies = predict(x.requires_grad_(), None, condition)
        return torch.autograd.grad(energies.sum(), x)[0], energies.detach()
    with torch.inference_mode():
        return predict(x, torch.full((len(x),), time, device=DEVICE), condition), torch.zeros(0)


# Standard output carries answers alone: what is printed goes to standard error.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def say(**message):
    print(json.dumps(message), file=answers, flush=True)


say(**GREETING)
for line in sys.stdin:
    call = json.loads(line)
    if call["call"] == 0:
        shape, width = GREETING["shape"], GREETING.get("condition")
        shapes = {"points": shape, "predictions": shape, "energies": [], "conditions": [width]}
        starts = {key: call[key] for key in shapes if call[key] is not None}
        shared = {key: np.memmap(call["file"], "f4", "r+", at, (call["rows"], *shapes[key])) for key, at in starts.items()}
        say(call=0)
        continue
    try:
        given = (np.array(shared[key][: call["n"]]) for key in ("points", "conditions") if key in shared)
        x, *condition = (torch.from_numpy(array).to(DEVICE) for array in given)
        y, energies = answer(x, call["time"], *condition)
        if y.shape == x.shape:
            shared["predictions"][: len(y)] = y.float().cpu()
        shared.get("energies", np.zeros(0))[: len(energies)] = energies.float().cpu()
        say(call=call["call"], shape=list(y.shape))
    except Exception as error:
        say(call=call["call"], error=f"{type(error).__name__}: {error}")
