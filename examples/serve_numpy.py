"""Serves a model in NumPy to brenier. Replace `predict`, and say in GREETING what it is; docs/servers.md lists the keys.

    brenier sample --field-command 'python examples/serve_numpy.py' --method fm-heun --steps 20
"""
import json
import os
import sys

import numpy as np

GREETING = {"brenier": 1, "shape": [2], "prediction": "velocity", "schedule": "condot"}


def predict(x, time, condition):
    """The prediction for points x, n x shape, at one time of the model's clock: here the velocity towards N(1, 1/4).

    With "condition": c in GREETING, condition has c numbers for each point; else it is None.
    """
    alpha, sigma = time, 1 - time
    return 1 + (alpha / 4 - sigma) * (x - alpha) / (alpha**2 / 4 + sigma**2)


# Standard output carries answers alone: what is printed goes to standard error.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def say(**answer):
    print(json.dumps(answer), file=answers, flush=True)


say(**GREETING)
for line in sys.stdin:
    call = json.loads(line)
    if call["call"] == 0:
        shapes = {"points": GREETING["shape"], "predictions": GREETING["shape"], "conditions": [GREETING.get("condition")]}
        starts = {key: call[key] for key in shapes if call[key] is not None}
        shared = {key: np.memmap(call["file"], "f4", "r+", at, (call["rows"], *shapes[key])) for key, at in starts.items()}
        say(call=0)
        continue
    try:
        x = np.array(shared["points"][: call["n"]])
        y = predict(x, call["time"], shared["conditions"][: len(x)] if "conditions" in shared else None)
        if y.shape == x.shape:
            shared["predictions"][: len(x)] = y
        say(call=call["call"], shape=y.shape)
    except Exception as error:
        say(call=call["call"], error=f"{type(error).__name__}: {error}")
