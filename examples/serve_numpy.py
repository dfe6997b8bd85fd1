"""Serves a model in NumPy to brenier. Replace `predict`, and say in GREETING what it is; docs/servers.md lists the keys.

    brenier sample --field-command 'python examples/serve_numpy.py' --method fm-heun --steps 20
"""
import json
import os
import sys

import numpy as np

GREETING = {"brenier": 1, "shape": [2], "prediction": "velocity", "schedule": "condot"}


def predict(x, time):
    """The prediction for points x, n x shape, at one time of the model's clock: here the velocity towards N(1, 1/4)."""
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
        shape = (call["rows"], *GREETING["shape"])
        points, predictions = (np.memmap(call["file"], "f4", "r+", call[key], shape) for key in ("points", "predictions"))
        say(call=0)
        continue
    try:
        x = np.array(points[: call["n"]])
        y = predict(x, call["time"])
        if y.shape == x.shape:
            predictions[: len(x)] = y
        say(call=call["call"], shape=y.shape)
    except Exception as error:
        say(call=call["call"], error=f"{type(error).__name__}: {error}")
