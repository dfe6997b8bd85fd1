"""Flow matching from normals to 8gaussians in PyTorch, on pairs of optimal plans."""

import torch
from torch.nn import Linear, SiLU
import brenier, brenier.torchcfm


class Flow(torch.nn.Module):
    def __init__(self, width=128):
        super().__init__()
        self.network = torch.nn.Sequential(Linear(3, width), SiLU(), Linear(width, width), SiLU(), Linear(width, 2))

    def forward(self, x, t):
        return self.network(torch.cat([x, t[:, None]], dim=1))


torch.manual_seed(0)
flow, couplings = Flow(), brenier.torchcfm.OTPlanSampler(method="exact")
adam = torch.optim.Adam(flow.parameters(), lr=2e-3)
data = torch.from_numpy(brenier.points("8gaussians", 20_000, seed=1)).float()
for step in range(2000):
    x1 = data[torch.randint(len(data), (256,))]
    x0, x1 = couplings.sample_plan(torch.randn_like(x1), x1)
    t = torch.rand(len(x0))
    loss = (flow((1 - t[:, None]) * x0 + t[:, None] * x1, t) - (x1 - x0)).square().mean()
    adam.zero_grad()
    loss.backward()
    adam.step()
samples = brenier.sample(flow, method="fm-heun", steps=4, start=torch.randn(2000, 2))
print(brenier.evaluate(samples.points, data[:2000]))
