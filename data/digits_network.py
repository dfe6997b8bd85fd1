"""Trains data/digits.safetensors: python data/digits_network.py target/release/brenier

The network that `compare digits` shows beside the exact fields. It sees the half of the digits that seed 0 gives, and no other. Its weights
are stored in half precision, with what made it in the metadata. Needs NumPy; some minutes on one core.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ARGS = "train digits --seed 0 --threads 1 --method score --prediction edm --schedule condot --steps 15000 --batch 256 --layers 3 --width 256 --rate 2e-3"
DATA = (
    "half A, by seed 0, of E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998, "
    "doi:10.24432/C50P49, CC BY 4.0"
)


def main():
    here = Path(__file__).resolve().parent
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([sys.argv[1], *ARGS.split(), "--out", out], check=True)
        file = (Path(out) / "model.safetensors").read_bytes()
    length = int.from_bytes(file[:8], "little")
    header, body = json.loads(file[8 : 8 + length]), file[8 + length :]
    metadata = header.pop("__metadata__") | {"made_by": f"brenier {ARGS}; weights rounded to f16", "made_of": DATA}
    halves, at = {"__metadata__": dict(sorted(metadata.items()))}, 0
    parts = []
    for name, tensor in header.items():
        first, last = tensor["data_offsets"]
        numbers = np.frombuffer(body[first:last], {"F32": "<f4", "F64": "<f8"}[tensor["dtype"]])
        parts.append(numbers.astype("<f2").tobytes())
        halves[name] = {"dtype": "F16", "shape": tensor["shape"], "data_offsets": [at, at + len(parts[-1])]}
        at += len(parts[-1])
    text = json.dumps(halves, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    (here / "digits.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + b"".join(parts))


main()
