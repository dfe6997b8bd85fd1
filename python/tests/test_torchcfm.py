"""`brenier.torchcfm`, by the properties that torchcfm's own tests check of its couplings; docs/python-dropins.md counts them."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from brenier.torchcfm import OTPlanSampler, wasserstein  # noqa: E402

METHODS = ["exact", "sinkhorn", "unbalanced"]


@pytest.fixture
def batches():
    draw = torch.Generator().manual_seed(0)
    return torch.randn(64, 3, 2, 2, generator=draw), torch.randn(64, 3, 2, 2, generator=draw)


def sampler(method):
    return OTPlanSampler(method, reg=1.0, reg_m=20.0)


def squares(x, y):
    return torch.cdist(x.flatten(1).double(), y.flatten(1).double()) ** 2


def test_all_pairs_of_a_permutation_are_drawn_once():
    permutation = np.random.default_rng(0).permutation(64)
    i, j = sampler("exact").sample_map(np.eye(64)[permutation] / 64, batch_size=64, replace=False)
    assert sorted(i) == list(range(64)) and (j == permutation[i]).all()


def test_the_exact_map_is_the_optimal_assignment(batches):
    plan = sampler("exact").get_map(*batches)
    assert isinstance(plan, np.ndarray) and plan.shape == (64, 64)
    assert np.allclose(np.sort(64 * plan, axis=1)[:, -1], 1) and np.allclose(plan.sum(axis=0), 1 / 64)
    # The duals prove it; `brenier.exact` gives them on the points themselves.
    import brenier

    found = brenier.exact(*(batch.flatten(1).double() for batch in batches))
    assert found.converged and np.isclose((plan * squares(*batches).numpy()).sum(), found.w2_squared)


@pytest.mark.parametrize("channels", [2, 3])  # by points, and by a matrix of costs
def test_the_entropic_map_is_the_plan_at_reg(batches, channels):
    batches = [batch[:, :channels] for batch in batches]
    plan, kernel = sampler("sinkhorn").get_map(*batches), np.exp(-squares(*batches).numpy())
    logs = np.log(plan / kernel)
    assert np.abs(logs - logs.mean(axis=0) - logs.mean(axis=1, keepdims=True) + logs.mean()).max() < 1e-3, "u_i K_ij v_j"
    assert np.allclose(plan.sum(axis=0), 1 / 64, atol=1e-6) and np.allclose(plan.sum(axis=1), 1 / 64, atol=1e-6)


@pytest.mark.parametrize("channels", [2, 3])
def test_the_map_with_free_marginals_is_a_fixed_point(batches, channels):
    batches = [batch[:, :channels] for batch in batches]
    # u = (a/Kv)^(reg_m/(reg_m + reg)) with K = ab exp(−c/reg), so that P1 = u^(−reg/reg_m) a (Chizat et al. 2018).
    plan, kernel = sampler("unbalanced").get_map(*batches), np.exp(-squares(*batches).numpy()) / 64**2
    ratio, rows, columns = plan / kernel, 64 * plan.sum(axis=1), 64 * plan.sum(axis=0)
    predicted = rows[:, None] ** (-20.0) * columns ** (-20.0)
    assert np.allclose(np.log(ratio), np.log(predicted), atol=2e-2) and 0.1 < plan.sum() < 0.99


def test_normalised_costs_scale_reg(batches):
    greatest = float(squares(*batches).max())
    plan = OTPlanSampler("sinkhorn", reg=0.05, normalize_cost=True).get_map(*batches)
    assert np.allclose(plan, OTPlanSampler("sinkhorn", reg=0.05 * greatest).get_map(*batches), atol=1e-7)


@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize("of", [lambda x: x, lambda x: x[:, 0, 0, :1]])
def test_a_plan_is_drawn_as_its_map_is(batches, of, replace):
    x0, x1 = map(of, batches)
    np.random.seed(1980)
    i, j = sampler("exact").sample_map(sampler("exact").get_map(x0, x1), 64, replace)
    np.random.seed(1980)
    drawn0, drawn1 = sampler("exact").sample_plan(x0, x1, replace)
    assert torch.equal(drawn0, x0[i]) and torch.equal(drawn1, x1[j])


@pytest.mark.parametrize("method", METHODS)
def test_pairs_are_drawn_with_the_frequencies_of_the_map(method):
    x0, x1 = torch.randn(6, 1), torch.randn(6, 1)
    chosen, plan = sampler(method), sampler(method).get_map(x0, x1)
    np.random.seed(0)
    counts = np.zeros((6, 6))
    for _ in range(300):
        a, b = chosen.sample_plan(x0, x1)
        np.add.at(counts, ((a == x0.T).int().argmax(1).numpy(), (b == x1.T).int().argmax(1).numpy()), 1)
    expected = counts.sum() * plan / plan.sum()
    assert ((counts - expected) ** 2 / (expected + 1)).max() < 4.5**2


@pytest.mark.parametrize("method", METHODS)
def test_labels_go_with_their_points(batches, method):
    x0, x1 = batches
    a, b, of_a, of_b = sampler(method).sample_plan_with_labels(x0, x1, torch.arange(64), torch.arange(64))
    assert torch.equal(a, x0[of_a]) and torch.equal(b, x1[of_b])
    assert sampler(method).sample_plan_with_labels(x0, x1)[2:] == (None, None)


def test_the_assignment_uses_every_point_once(batches):
    x0, x1 = batches
    a, b = sampler("exact").sample_plan_with_scipy(x0, x1)
    assert torch.equal(a, x0) and torch.equal(b.flatten(1).sort(0).values, x1.flatten(1).sort(0).values)
    assert np.isclose(float(((a - b) ** 2).sum()) / 64, wasserstein(x0, x1) ** 2, rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_trajectories_start_at_the_points_and_follow_the_plans(method):
    shifts = torch.tensor([0.0, 1.0, 3.0])
    x = torch.randn(20, 1, 2) + shifts[None, :, None]
    path = sampler(method).sample_trajectory(x)
    assert path.shape == (20, 3, 2) and np.array_equal(path[:, 0], x[:, 0].numpy())
    if method == "exact":
        assert np.array_equal(path, x.numpy()), "a shift moves every point along"


def test_distances_are_those_of_their_costs(batches):
    x0, x1 = batches
    plan = OTPlanSampler("exact").get_map(x0, x1)
    assert np.isclose(wasserstein(x0, x1, "exact") ** 2, (plan * squares(x0, x1).numpy()).sum())
    assert np.isclose(wasserstein(x0, x0 + 1, None), 12**0.5, rtol=1e-6)
    assert np.isclose(wasserstein(x0[:, 0, 0, :1], x0[:, 0, 0, :1] + 2, "exact", power=1), 2.0, rtol=1e-6)
    least = wasserstein(x0, x1, "exact", power=1)
    sharp, soft = (wasserstein(x0, x1, "sinkhorn", reg=reg, power=1) for reg in (0.1, 5.0))
    assert least < sharp < 1.05 * least < soft
    with pytest.raises(ValueError, match="there is no method"):
        wasserstein(x0, x1, "noname")


def test_what_is_not_served_says_so():
    with pytest.raises(NotImplementedError, match="no partial plans"):
        OTPlanSampler("partial")
    with pytest.raises(ValueError, match="there is no method"):
        OTPlanSampler("earth mover")


@pytest.mark.filterwarnings("ignore:not converged")
def test_a_plan_without_mass_is_drawn_from_as_if_independent():
    x = torch.randn(8, 2)
    with pytest.warns(UserWarning, match="no mass"):
        a, b = OTPlanSampler("unbalanced", reg=0.1, reg_m=0.1).sample_plan(x, x + 100.0)
    assert a.shape == b.shape == (8, 2)
