"""`brenier.torch` and `brenier.geomloss`, by the properties that GeomLoss's own tests check of its solvers and by derivatives;
docs/python-dropins.md counts them."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import brenier  # noqa: E402
import brenier.torch  # noqa: E402
from brenier.geomloss import SamplesLoss  # noqa: E402

MODES = [
    {},
    {"p": 1},
    {"debias": False},
    {"p": 1, "debias": False},
    {"cost": lambda x, y: (x[:, :, None] - y[:, None]).abs().sum(dim=3)},
]


def ends(n=12, m=9, batch=()):
    """a, x, b, y in f64, of mass one."""
    draw = torch.Generator().manual_seed(0)
    numbers = lambda *shape: torch.rand(*batch, *shape, generator=draw, dtype=torch.float64)
    a, b = 0.2 + numbers(n), 0.2 + numbers(m)
    return a / a.sum(-1, keepdim=True), numbers(n, 2), b / b.sum(-1, keepdim=True), numbers(m, 2) ** 2


def require(*tensors):
    return [tensor.clone().requires_grad_() for tensor in tensors]


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("blur", [0.01, 0.3, 3.0])
def test_between_two_points_the_loss_is_their_cost(p, blur):
    x, y = torch.tensor([[0.0, 0.0]], dtype=torch.float64), torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    cost = 5.0 if p == 1 else 12.5
    for debias in (True, False):
        assert abs(SamplesLoss(p=p, blur=blur, debias=debias)(x, y).item() / cost - 1) < 1e-9
        f, g = SamplesLoss(p=p, blur=blur, debias=debias, potentials=True)(x, y)
        assert abs((f + g).item() / cost - 1) < 1e-9


@pytest.mark.parametrize("mode", MODES)
def test_the_loss_is_symmetric_and_blind_to_the_order_of_points(mode):
    a, x, b, y = ends()
    loss, order = SamplesLoss(blur=0.3, **mode), torch.randperm(12)
    value = loss(a, x, b, y)
    assert torch.isclose(loss(b, y, a, x), value, rtol=1e-5) and torch.isclose(loss(a[order], x[order], b, y), value, rtol=1e-5)


@pytest.mark.parametrize("mode", MODES[:2])
def test_the_divergence_is_zero_between_equal_measures_alone(mode):
    a, x, b, y = ends()
    loss = SamplesLoss(blur=0.3, **mode)
    assert abs(loss(a, x, a, x)) < 1e-8 < 1e-3 < loss(a, x, b, y)


@pytest.mark.parametrize("mode", MODES)
def test_potentials_integrate_to_the_loss(mode):
    a, x, b, y = ends()
    f, g = SamplesLoss(blur=0.3, potentials=True, **mode)(a, x, b, y)
    assert f.shape == a.shape and g.shape == b.shape
    assert torch.isclose(a @ f + b @ g, SamplesLoss(blur=0.3, **mode)(a, x, b, y), rtol=1e-4)


@pytest.mark.parametrize("p", [1, 2])
def test_costs_and_blur_scale_with_the_points(p):
    a, x, b, y = ends()
    loss, larger = SamplesLoss(p=p, blur=0.3), SamplesLoss(p=p, blur=0.9)
    assert torch.isclose(larger(a, 3 * x, b, 3 * y), 3.0**p * loss(a, x, b, y), rtol=1e-5)


@pytest.mark.parametrize("mode", MODES[:4])
def test_the_loss_scales_with_mass_as_its_dual_does(mode):
    a, x, b, y = ends()
    f, g = SamplesLoss(blur=0.3, potentials=True, **mode)(1.7 * a, x, 1.7 * b, y)
    assert torch.isclose(1.7 * (a @ f + b @ g), SamplesLoss(blur=0.3, **mode)(1.7 * a, x, 1.7 * b, y), rtol=1e-4)
    divergence = SamplesLoss(blur=0.3, p=mode.get("p", 2))
    assert torch.isclose(divergence(1.7 * a, x, 1.7 * b, y), 1.7 * divergence(a, x, b, y), rtol=1e-6)


def test_between_gaussians_the_divergence_is_the_closed_form():
    # Gaussians of deviation 1 in one dimension, a shift apart: S_ε = ½ shift² whatever ε is (Janati et al. 2020).
    x = torch.erfinv(2 * (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000 - 1)[:, None] * 2**0.5
    assert abs(SamplesLoss(blur=0.5)(x, x + 2.0).item() - 2.0) < 1e-3


def test_without_blur_a_convex_gradient_is_found_again():
    # x ↦ ∇φ(x) of a convex φ is optimal (Brenier 1991), so that ∇S is x − ∇φ(x), each point of mass 1/n.
    (x,) = require(torch.rand(60, 2, dtype=torch.float64))
    image = (x + 0.5 * x**2).detach()
    SamplesLoss(blur=0.005)(x, image).backward()
    assert (60 * x.grad - (x - image)).detach().abs().max() < 1e-2


@pytest.mark.parametrize("mode", [*MODES, {"reach": 0.7}])
def test_gradients_in_points_are_those_of_differences(mode, monkeypatch):
    monkeypatch.setattr("brenier.geomloss._TOL", 1e-13)
    a, x, b, y = ends(6, 5)
    loss = SamplesLoss(blur=0.5, **mode)
    assert torch.autograd.gradcheck(lambda x, y: loss(a, x, b, y), require(x, y), atol=1e-6)
    assert torch.autograd.gradcheck(lambda a, b: loss(a / a.sum(), x, b / b.sum(), y), require(a, b), atol=1e-6)


def test_a_batch_is_its_losses_one_by_one():
    inputs = require(*ends(batch=(3,)))
    loss = SamplesLoss(blur=0.3)
    losses = loss(*inputs)
    assert losses.shape == (3,)
    (losses * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    for k in range(3):
        one = require(*(tensor[k].detach() for tensor in inputs))
        single = loss(*one)
        single.backward()
        assert torch.isclose(single, losses[k])
        assert all(torch.allclose(whole.grad[k], (k + 1) * part.grad) for whole, part in zip(inputs, one, strict=True))


def test_single_precision_and_columns_of_weights_are_taken():
    a, x, b, y = (tensor.float() for tensor in ends())
    loss = SamplesLoss(blur=0.3)
    value = loss(a[:, None], x, b[:, None], y)
    assert value.dtype == torch.float32 and value.dim() == 0 and torch.isclose(value, loss(a, x, b, y))
    assert torch.isclose(loss(x, y), loss(torch.full((12,), 1 / 12), x, torch.full((9,), 1 / 9), y))


def test_the_loss_of_free_marginals_falls_with_the_reach():
    a, x, b, y = ends()
    values = [SamplesLoss(blur=0.3, reach=reach)(a, x, b, y).item() for reach in (0.1, 0.5, 5.0, None)]
    assert values == sorted(values) and abs(values[2] / values[3] - 1) < 0.05
    with pytest.raises(NotImplementedError, match="clouds of mass one"):
        SamplesLoss(reach=0.3)(2 * a, x, b, y)


@pytest.mark.parametrize(
    "keywords, error, words",
    [
        ({"loss": "energy"}, NotImplementedError, "one of kernels"),
        ({"loss": "hausdorff"}, NotImplementedError, "one of kernels"),
        ({"loss": "earth"}, ValueError, "there is no loss"),
        ({"p": 3}, ValueError, "p = 3"),
        ({"cost": "Norm2(X-Y)"}, NotImplementedError, "formulas"),
        ({"p": 1, "reach": 1.0}, NotImplementedError, "p=2"),
    ],
)
def test_what_is_not_served_says_so(keywords, error, words):
    with pytest.raises(error, match=words):
        SamplesLoss(**keywords)


def test_shapes_that_do_not_fit_are_refused():
    a, x, b, y = ends()
    for wrong, words in (((x, y[:, :1]), "points have shapes"), ((b, x, b, y), "weights have shape"), ((x,), "1 arguments")):
        with pytest.raises(ValueError, match=words):
            SamplesLoss()(*wrong)
    with pytest.raises(ValueError, match="no mass is created"):
        SamplesLoss()(2 * a, x, b, y)


def test_the_divergence_is_a_loss_of_torch():
    a, x, b, y = ends()
    inputs = require(x, y, a, b)
    assert torch.autograd.gradcheck(lambda *z: brenier.torch.divergence(*z, eps=0.3, tol=1e-13), inputs, atol=1e-6)
    value = brenier.torch.divergence(*inputs, eps=0.3)
    assert value.dim() == 0 and np.isclose(value.item(), brenier.divergence(x, y, a, b, eps=0.3).value)
    (gradient,) = torch.autograd.grad(value, inputs[0], create_graph=True)
    with pytest.raises(NotImplementedError, match="no second"):
        gradient.square().sum().backward()


def test_descending_the_divergence_reaches_the_target():
    _, x, _, y = ends(12, 12)
    (x,) = require(x)
    for _ in range(60):
        (gradient,) = torch.autograd.grad(brenier.torch.divergence(x, y, eps=0.01), x)
        x = (x - 0.5 * 12 * gradient).detach().requires_grad_()
    assert brenier.torch.divergence(x, y, eps=0.01) < 1e-5
