"""The exact field of N(m, s² I), m = (1 + 2c, -2) with c the class, if any, s = 1/2, served with the standard library alone, or with
one fault.

python gaussian.py KIND [KEY=VALUE …]      KIND: eps, velocity, energy or a fault; the keys go into the greeting as JSON

It leaves its process in `pid` and the path of the shared file in `shared`.
"""
import json
import mmap
import os
import sys
import time

MEAN, VARIANCE = (1.0, -2.0), 0.25
kind, *keys = sys.argv[1:]
greeting = {"brenier": 1, "shape": [2], "precision": "f64", "prediction": "eps", "schedule": "ddpm"}
greeting |= {key: json.loads(value) for key, value in (pair.split("=", 1) for pair in keys)}


def say(**message):
    print(json.dumps(message), flush=True)


def predict(x, alpha, sigma, label):
    means = (MEAN[0] + 2 * label, MEAN[1])
    centred = [x - alpha * mean for x, mean in zip(x, means)]
    u = [x / (alpha**2 * VARIANCE + sigma**2) for x in centred]
    if kind == "energy":
        return u
    if kind == "velocity":  # towards the noise, dx/ds at s = 1 − t on condot: ε̂ − x̂₀
        return [sigma * u - mean - alpha * VARIANCE * u for u, mean in zip(u, means)]
    return [sigma * u for u in u]


with open("pid", "w") as file:
    file.write(str(os.getpid()))
if kind == "never-greets":
    time.sleep(1000)
if kind == "prints":
    print("loading the weights", flush=True)
if kind == "dies-at-once":
    sys.exit("there are no weights")
if kind == "endless":
    while True:
        print("." * 4096, end="")
if kind == "refuses":
    say(error="the weights are those of another network")
say(**greeting)
for line in sys.stdin:
    call = json.loads(line)
    number = call["call"]
    if number == 0:
        with open("shared", "w") as path:
            path.write(call["file"])
        file = open(call["file"], "r+b")
        shared = memoryview(mmap.mmap(file.fileno(), 0)).cast({"f32": "f", "f64": "d"}[greeting["precision"]])
        starts = {key: call[key] for key in ("points", "predictions", "energies", "conditions")}
        start = {key: at // shared.itemsize for key, at in starts.items() if at is not None}
        say(call=0)
        continue
    n, shape = call["n"], [call["n"], *greeting["shape"]]
    if number == 3:
        if kind == "dies":
            raise ValueError("the device is gone")
        if kind == "hangs":
            print("waiting for the other ranks", file=sys.stderr, flush=True)
            time.sleep(1000)
        if kind == "fails":
            say(error="a convolution of one channel met three")
            continue
        if kind == "chats":
            print(f"step {number}", flush=True)
        if kind == "resizes":
            file.truncate(mmap.PAGESIZE)
            say(call=number, shape=shape)
            continue
    for i in range(n):
        x = shared[start["points"] + 2 * i :][:2]
        if kind != "idle" or number < 3:
            label = shared[start["conditions"] + i] if "conditions" in start else 0
            for k, y in enumerate(predict(x, call["alpha"], call["sigma"], label)):
                shared[start["predictions"] + 2 * i + k] = float("nan") if kind == "nan" and i == 5 else y
        if "energies" in start:
            shared[start["energies"] + i] = sum((x - mean) ** 2 for x, mean in zip(x, MEAN)) / (2 * VARIANCE)
    if kind == "slow":
        time.sleep(0.05)
    if kind == "answers-once" and number > 1:
        number = 1
    if kind == "misshapen":
        shape = [n, 1]
    say(call=number, shape=shape)
if kind == "lingers":
    time.sleep(1000)
