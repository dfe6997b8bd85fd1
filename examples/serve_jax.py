"""Serves a JAX model to brenier. Replace `predict`, and say in GREETING what it is; docs/servers.md lists the keys.

    brenier sample --field-command 'python examples/serve_jax.py' --method fm-heun --steps 20
"""
import json
import os
import sys

import jax
import numpy as np

GREETING = {"brenier": 1, "shape": [2], "prediction": "velocity", "schedule": "condot", "batch": 4096}


def predict(x, time, condition):
    """The prediction for one point x at the time of the model's clock: here the velocity towards N(1, 1/4).

    With "condition": c in GREETING, condition has c numbers, else none. Of an energy it gives V, one number, with time None.
    """
    alpha, sigma = time, 1 - time
    return 1 + (alpha / 4 - sigma) * (x - alpha) / (alpha**2 / 4 + sigma**2)


IS_ENERGY = GREETING["prediction"] == "energy"
of_all = jax.jit(jax.vmap(jax.value_and_grad(predict) if IS_ENERGY else predict, (0, None, 0)))

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
        x = np.array(shared["points"][: call["n"]])
        y = of_all(x, call["time"], shared.get("conditions", np.zeros((len(x), 0)))[: len(x)])
        if IS_ENERGY:
            shared["energies"][: len(x)], y = y
        if y.shape == x.shape:
            shared["predictions"][: len(x)] = y
        say(call=call["call"], shape=y.shape)
    except Exception as error:
        say(call=call["call"], error=f"{type(error).__name__}: {error}")
