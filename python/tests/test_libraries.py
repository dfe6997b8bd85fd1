"""Arrays of other libraries, where these are installed."""

from pathlib import Path

import numpy as np
import pytest

import brenier


def test_tensors_of_torch_come_back_as_tensors(clouds):
    torch = pytest.importorskip("torch")
    x, y = (torch.from_numpy(array.astype(np.float32)) for array in clouds)
    wanted = brenier.sinkhorn(*(array.astype(np.float32) for array in clouds), eps=0.2)
    found = brenier.sinkhorn(x, y, eps=0.2)
    assert found.cost == wanted.cost and isinstance(found.f, torch.Tensor) and found.f.dtype == torch.float32
    assert torch.equal(found.map(), torch.from_numpy(wanted.map()))
    assert brenier.sinkhorn(x.requires_grad_(), y, eps=0.2).cost == wanted.cost, "detached"
    assert brenier.sinkhorn(x.detach().to(torch.bfloat16), y, eps=0.2).cost == pytest.approx(wanted.cost, rel=1e-2)
    pairs = brenier.couple(x.detach(), y, eps=0.2)
    assert isinstance(pairs.x1, torch.Tensor) and pairs.source.dtype == torch.int64
    assert brenier._brenier.address(y) == y.data_ptr(), "not copied"


def test_a_module_of_torch_is_a_field():
    torch = pytest.importorskip("torch")

    class Straight(torch.nn.Module):
        """From N(0, I) to one point."""

        def __init__(self):
            super().__init__()
            self.point = torch.nn.Parameter(torch.tensor([1.0, -2.0]))

        def forward(self, x, t):
            return (self.point - x) / (1.0 - t[:, None])

    samples = brenier.sample(Straight(), method="fm-euler", steps=10, n=50, dim=2)
    assert isinstance(samples.points, torch.Tensor) and torch.allclose(samples.points, torch.tensor([1.0, -2.0]), atol=1e-5)

    def broken(x, t):
        assert isinstance(x, torch.Tensor)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        brenier.sample(broken, method="fm-euler", start=torch.zeros(3, 2))


def test_arrays_of_jax_come_back_as_arrays(clouds):
    jax = pytest.importorskip("jax")
    x, y = (jax.numpy.asarray(array, dtype="float32") for array in clouds)
    wanted = brenier.sinkhorn(*(array.astype(np.float32) for array in clouds), eps=0.2)
    found = brenier.sinkhorn(x, y, eps=0.2)
    assert found.cost == wanted.cost and isinstance(found.f, jax.Array) and found.f.dtype == "float32"
    assert (found.plan.pull(y[:, 0]) == jax.numpy.asarray(wanted.plan.pull(np.asarray(y[:, 0])))).all()


MODELS = Path(__file__).parents[2] / "tests" / "data" / "models"


@pytest.mark.skipif(not MODELS.exists(), reason="not in a checkout")
def test_a_function_moves_particles_as_its_exported_model_does():
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(MODELS / "eps.onnx"), providers=["CPUExecutionProvider"])
    points, time = (given.name for given in session.get_inputs())
    kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(double)": np.float64}
    kind = kinds[session.get_inputs()[1].type]
    function = lambda x, t: session.run(None, {points: x, time: t.astype(kind)})[0]
    start = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
    keywords = {"method": "ddim", "steps": 10, "prediction": "eps", "schedule": "ddpm", "start": start}
    exported = brenier.sample(str(MODELS / "eps.onnx"), **keywords)
    assert np.abs(brenier.sample(function, **keywords).points - exported.points).max() < 1e-5
