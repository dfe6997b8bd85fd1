"""Trains a small velocity network on points by flow matching and writes it as brenier reads it.

    brenier generate 8gaussians --n 20000 --out data.npy
    python examples/export_mlp.py data.npy model.safetensors        (pip install torch numpy safetensors)
    brenier compare model.safetensors --target data.npy
"""
import sys

import numpy as np
import torch
from safetensors.torch import save_file

data_file, model_file, *steps = sys.argv[1:]
torch.manual_seed(0)
data = torch.from_numpy(np.load(data_file)).float()
n, d = data.shape


class Velocity(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.frequencies = torch.nn.Parameter(torch.tensor([0.25, 0.5, 1.0, 2.0]))  # trained as well
        self.net = torch.nn.Sequential(
            torch.nn.Linear(d + 8, 128), torch.nn.SiLU(),
            torch.nn.Linear(128, 128), torch.nn.SiLU(),
            torch.nn.Linear(128, d),
        )

    def forward(self, x, t):
        phase = 2 * torch.pi * t * self.frequencies
        return self.net(torch.cat([x, phase.sin(), phase.cos()], 1))


net = Velocity()
adam = torch.optim.Adam(net.parameters(), lr=2e-3)
steps = int(steps[0]) if steps else 2000
fall = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
for step in range(steps):
    x1, x0, t = data[torch.randint(n, (1024,))], torch.randn(1024, d), torch.rand(1024, 1)
    x = t * x1 + (1 - t) * x0  # alpha = t, sigma = 1 - t: the schedule called condot
    loss = (net(x, t) - (x1 - x0)).square().mean()
    adam.zero_grad()
    loss.backward()
    adam.step()
    fall.step()
print(f"loss {loss.item():.4f}")

t, x = torch.linspace(0, 1, 16), torch.randn(16, d)
with torch.no_grad():  # brenier refuses the file if its own network does not give these
    check = {"check.x": x, "check.t": t, "check.y": net(x, t[:, None])}
meaning = {"prediction": "velocity", "schedule": "condot", "time": "fourier", "clock": "t"}
layers = {"brenier": "mlp", "version": "1", "layers": "net.0,net.2,net.4", "activation": "silu"}
save_file(net.state_dict() | check, model_file, layers | meaning)
