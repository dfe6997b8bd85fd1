"""The drop-ins of the Python package beside torchcfm, GeomLoss and POT: how far results are apart, on the same seeded inputs.

`pip install brenier torchcfm geomloss pot torch`, then `python benches/peers/dropins.py`. GeomLoss stops at the end of its
annealing, so it is shown at several of its `scaling`s.
"""

import sys, warnings

sys.path.pop(0)  # this folder, whose files are called as what they measure

import geomloss, numpy as np, ot, torch, torchcfm.optimal_transport as torchcfm
import brenier.geomloss, brenier.pot, brenier.torchcfm

warnings.simplefilter("ignore")
torch.manual_seed(0)


def row(name, theirs, ours):
    theirs, ours = (np.asarray(torch.as_tensor(value).detach(), dtype=float) for value in (theirs, ours))
    size, apart = np.abs(theirs).max(), np.abs(theirs - ours).max()
    print(f"{name:<44} {size:12.6g} {apart:10.1e}")


print(f"{'':<44} {'largest':>12} {'apart':>10}")
x0, x1 = torch.randn(128, 8), torch.randn(128, 8)
for method in ("exact", "sinkhorn", "unbalanced"):
    row(
        f"torchcfm {method}: map",
        *(of.OTPlanSampler(method, reg=0.5, reg_m=20.0).get_map(x0, x1) for of in (torchcfm, brenier.torchcfm)),
    )
for method, power in (("exact", 2), ("exact", 1), ("sinkhorn", 2), ("sinkhorn", 1)):
    row(
        f"torchcfm {method}: W{power}",
        *(of.wasserstein(x0, x1, method, reg=0.5, power=power) for of in (torchcfm, brenier.torchcfm)),
    )

a, b = torch.rand(60, dtype=torch.float64), torch.rand(50, dtype=torch.float64)
inputs = [a / a.sum(), b / b.sum(), torch.cdist(x0[:60], x1[:50]).double() ** 2]
for name, call in (("emd2", lambda of, *z: of.emd2(*z)), ("sinkhorn2", lambda of, *z: of.sinkhorn2(*z, 1.0, stopThr=1e-12))):
    found = []
    for of in (ot, brenier.pot):
        tensors = [tensor.clone().requires_grad_() for tensor in inputs]
        value = call(of, *tensors)
        value.backward()
        found.append([value, *(tensor.grad - (tensor.grad.mean() if tensor.dim() == 1 else 0) for tensor in tensors)])
    for what, theirs, ours in zip(("value", "gradient in a", "gradient in b", "gradient in M"), *found, strict=True):
        row(f"POT {name}: {what}", theirs, ours)
for method in ("sinkhorn", "sinkhorn_log", "sinkhorn_stabilized", "greenkhorn", "sinkhorn_epsilon_scaling"):
    row(f"POT {method}: plan", *(of.sinkhorn(*inputs, 1.0, method=method, stopThr=1e-12) for of in (ot, brenier.pot)))

x, y = torch.rand(30, 3, dtype=torch.float64), torch.rand(40, 3, dtype=torch.float64) ** 2
for name, keywords in (("p=2", {}), ("p=1", {"p": 1}), ("p=2, biased", {"debias": False}), ("p=2, reach 0.3", {"reach": 0.3})):
    for scaling in (0.5, 0.9, 0.99):
        losses = [of.SamplesLoss(blur=0.1, scaling=scaling, **keywords)(x, y) for of in (geomloss, brenier.geomloss)]
        row(f"GeomLoss {name}, scaling {scaling}: loss", *losses)
