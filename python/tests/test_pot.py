"""`brenier.pot`, by the properties that POT 0.9.6's own tests check of emd, emd2, sinkhorn and sinkhorn2; docs/python-dropins.md
counts them."""

import warnings

import numpy as np
import pytest

import brenier
from brenier import pot

METHODS = ["sinkhorn", "sinkhorn_log", "sinkhorn_stabilized"]
METHODS_OF_PLANS = [*METHODS, "greenkhorn", "sinkhorn_epsilon_scaling"]
ENTROPIC = {"reg": 1.0, "stopThr": 1e-10}


def bell(n, mean, deviation):
    density = np.exp(-0.5 * ((np.arange(n) - mean) / deviation) ** 2)
    return density / density.sum()


def line_costs(n, m, power):
    return np.abs(np.arange(n)[:, None] - np.arange(m)) ** float(power)


@pytest.fixture
def problem():
    """Weights and costs |x − y|² between 40 and 30 points."""
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(40, 2)), draw.normal(size=(30, 2))
    a, b = draw.uniform(0.2, 1.0, size=40), draw.uniform(0.2, 1.0, size=30)
    return a / a.sum(), b / b.sum(), ((x[:, None] - y) ** 2).sum(axis=2)


@pytest.fixture
def loop():
    """Uniform weights and costs |x − y|² of 60 points to themselves."""
    x = np.random.default_rng(1).normal(size=(60, 2))
    return np.full(60, 1 / 60), ((x[:, None] - x) ** 2).sum(axis=2)


def assert_marginals(plan, a, b, atol=1e-12):
    assert (plan >= 0).all()
    assert np.allclose(plan.sum(axis=1), a, rtol=0, atol=atol) and np.allclose(plan.sum(axis=0), b, rtol=0, atol=atol)


def assert_optimal(plan, costs, a, b, u, v, cost):
    """Duals are feasible, worth the cost, and tight where mass moves."""
    slack = costs - u[:, None] - v
    assert slack.min() > -1e-8 * costs.max() and np.abs(slack[plan > 0]).max() < 1e-8 * costs.max()
    assert np.isclose(a @ u + b @ v, cost, rtol=1e-9) and np.isclose((plan * costs).sum(), cost, rtol=1e-12)


@pytest.mark.parametrize("function", [pot.emd, pot.emd2])
def test_exact_weights_that_do_not_fit_are_refused(function, loop):
    u, costs = loop
    for kind in (AssertionError, ValueError):
        with pytest.raises(kind, match="weights have shapes"):
            function(np.full(61, 1 / 61), np.full(61, 1 / 61), costs)
        with pytest.raises(kind, match="the weights add up to"):
            function(np.r_[100.0, u[1:]], u, costs)


@pytest.mark.parametrize("empty", [False, True])
def test_the_optimal_plan_of_points_to_themselves_is_the_identity(loop, empty):
    u, costs = loop
    a = [] if empty else u
    plan = pot.emd(a, a, costs)
    assert_marginals(plan, u, u)
    assert np.allclose(plan, np.diag(u)) and abs(pot.emd2(a, a, costs)) < 1e-12


def test_exact_costs_of_several_targets_are_those_of_each():
    a, costs = bell(120, 20, 5), line_costs(120, 120, 2)
    b = np.stack([bell(120, mean, 8) for mean in (20, 50, 90)], axis=1)
    one_by_one = [pot.emd2(a, column, costs) for column in b.T]
    assert np.allclose(pot.emd2(a, b, costs), one_by_one, rtol=1e-12)
    for column, (cost, log) in zip(b.T, pot.emd2(a, b, costs, log=True, return_matrix=True), strict=True):
        assert_optimal(log["G"], costs, a, column, log["u"], log["v"], cost)


def test_exact_duals_prove_the_plan_and_the_plan_back():
    # Two bells of one width, 40 apart, under |x − y|: the cost is how far apart their means are.
    a, b, costs = bell(150, 50, 5), bell(170, 90, 5), line_costs(150, 170, 1)
    plan, log = pot.emd(a, b, costs, log=True)
    assert_marginals(plan, a, b)
    assert_optimal(plan, costs, a, b, log["u"], log["v"], log["cost"])
    assert np.isclose(log["cost"], b @ np.arange(170) - a @ np.arange(150), rtol=1e-9)
    assert np.isclose(log["cost"], (pot.emd(b, a, costs.T) * costs.T).sum(), rtol=1e-9)
    assert np.isclose(a @ log["u"], b @ log["v"], rtol=1e-9), "centred"


def test_an_exact_plan_on_a_line_keeps_order():
    draw = np.random.default_rng(2)
    x, y = np.sort(draw.normal(size=20)), np.sort(draw.normal(size=20))
    assert np.allclose(pot.emd([], [], (x[:, None] - y) ** 2), np.eye(20) / 20)
    assert np.isclose(pot.emd2([], [], (x[:, None] - y) ** 2), ((x - y) ** 2).mean())


def test_points_without_mass_have_feasible_duals(problem):
    a, b, costs = problem
    a, b = np.where(np.arange(40) < 3, 0.0, a), np.where(np.arange(30) > 26, 0.0, b)
    a, b = a / a.sum(), b / b.sum()
    plan, log = pot.emd(a, b, costs, log=True)
    assert_marginals(plan, a, b)
    assert_optimal(plan, costs, a, b, log["u"], log["v"], log["cost"])
    assert_marginals(pot.sinkhorn(a, b, costs, **ENTROPIC), a, b, 1e-9)


def test_mass_is_that_of_the_weights(problem):
    a, b, costs = problem
    assert np.allclose(pot.emd(3 * a, 3 * b, costs), 3 * pot.emd(a, b, costs))
    assert np.allclose(pot.sinkhorn(3 * a, 3 * b, costs, **ENTROPIC), 3 * pot.sinkhorn(a, b, costs, **ENTROPIC), atol=1e-10)
    assert np.allclose(pot.emd(a.tolist(), 2 * b, costs, check_marginals=False), pot.emd(a, b, costs))


@pytest.mark.parametrize("method", METHODS_OF_PLANS)
def test_entropic_plans_are_scalings_of_the_kernel(problem, method):
    a, b, costs = problem
    plan, log = pot.sinkhorn(a, b, costs, method=method, log=True, **ENTROPIC)
    assert_marginals(plan, a, b, 1e-10)
    assert np.allclose(plan, log["u"][:, None] * np.exp(-costs) * log["v"], rtol=1e-10)
    assert log["err"][-1] < 1e-10 and log["niter"] < 1000


@pytest.mark.parametrize("method", METHODS_OF_PLANS)
def test_empty_weights_are_uniform(loop, method):
    u, costs = loop
    assert_marginals(pot.sinkhorn([], [], costs, method=method, **ENTROPIC), u, u, 1e-10)
    assert np.array_equal(
        pot.sinkhorn([], [], costs, method=method, **ENTROPIC), pot.sinkhorn(u, u, costs, method=method, **ENTROPIC)
    )


@pytest.mark.parametrize("method", METHODS)
def test_entropic_costs_of_several_targets_are_those_of_each(problem, method):
    a, _, costs = problem
    b = np.random.default_rng(3).uniform(size=(30, 3))
    b /= b.sum(axis=0)
    found, log = pot.sinkhorn(a, b, costs, method=method, log=True, **ENTROPIC)
    one_by_one = [pot.sinkhorn2(a, column, costs, method=method, **ENTROPIC) for column in b.T]
    assert np.allclose(found, one_by_one, rtol=1e-9) and log["u"].shape == (40, 3)
    assert np.allclose(pot.sinkhorn2(a, b, costs, method=method, **ENTROPIC), one_by_one, rtol=1e-9)


@pytest.mark.parametrize("method", METHODS_OF_PLANS)
def test_an_entropic_plan_that_is_not_converged_is_warned_of(method):
    a, b, costs = bell(60, 20, 6), bell(60, 35, 6), line_costs(60, 60, 2)
    asked = {"reg": 1.0, "method": method, "stopThr": 0, "numItermax": 1}
    with pytest.warns(UserWarning, match="not converged"):
        pot.sinkhorn(a, b, costs, **asked)
    if method in METHODS:
        with pytest.warns(brenier.ConvergenceWarning):
            pot.sinkhorn2(a, b, costs, warn=True, **asked)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pot.sinkhorn(a, b, costs, warn=False, **asked)


@pytest.mark.parametrize("function, method", [(pot.sinkhorn, "foo"), (pot.sinkhorn2, "foo"), (pot.sinkhorn2, "greenkhorn")])
def test_methods_that_there_are_not_are_refused(loop, function, method):
    with pytest.raises(ValueError, match="there is no method"):
        function([], [], loop[1], 1.0, method=method)


def test_no_regularisation_is_refused(loop):
    with pytest.raises(ValueError, match="eps"):
        pot.sinkhorn([], [], loop[1], 0.0)


def test_a_regularisation_far_below_the_costs_is_no_less_exact(problem):
    a, b, costs = problem
    losses = [pot.sinkhorn2(a, b, costs, 1e-3, method=method, numItermax=100_000, stopThr=1e-8) for method in METHODS]
    assert np.ptp(losses) == 0.0 and np.isclose(losses[0], pot.emd2(a, b, costs), rtol=2e-3)


@pytest.mark.parametrize("method", METHODS_OF_PLANS)
def test_a_warm_start_at_the_solution_is_the_solution(problem, method):
    a, b, costs = problem
    plan, log = pot.sinkhorn(a, b, costs, method=method, log=True, **ENTROPIC)
    scaled = method in ("sinkhorn_stabilized", "sinkhorn_epsilon_scaling")
    again, log_again = pot.sinkhorn(
        a, b, costs, method=method, log=True, warmstart=log["warmstart"] if scaled else (log["log_u"], log["log_v"]), **ENTROPIC
    )
    assert log_again["niter"] <= 1 and np.allclose(plan, again, rtol=1e-9)


def test_single_precision_comes_back_as_such(problem):
    a, b, costs = (array.astype(np.float32) for array in problem)
    for found in (pot.emd(a, b, costs), pot.emd2(a, b, costs), pot.sinkhorn(a, b, costs, 1.0), pot.sinkhorn2(a, b, costs, 1.0)):
        assert found.dtype == np.float32


class TestTorch:
    """The same on tensors."""

    @pytest.fixture(autouse=True)
    def _torch(self):
        self.torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("function", [pot.emd, pot.emd2, lambda *p: pot.sinkhorn(*p, 1.0), lambda *p: pot.sinkhorn2(*p, 1.0)])
    def test_tensors_come_back_with_numpys_values(self, problem, function, dtype):
        found = function(*(self.torch.tensor(array, dtype=getattr(self.torch, dtype)) for array in problem))
        assert isinstance(found, self.torch.Tensor) and found.dtype == getattr(self.torch, dtype)
        assert np.allclose(found.numpy(), function(*problem), rtol=1e-4 if dtype == "float32" else 1e-12, atol=1e-8)

    def test_exact_gradients_are_duals_and_plan(self, problem):
        a, b, costs = (self.torch.tensor(array, requires_grad=True) for array in problem)
        plan, log = pot.emd(*problem, log=True)
        (10 * pot.emd2(a, b, costs)).backward()
        assert np.allclose(costs.grad, 10 * plan)
        assert np.allclose(a.grad, 10 * (log["u"] - log["u"].mean())) and np.allclose(b.grad, 10 * (log["v"] - log["v"].mean()))

    def test_entropic_gradients_are_those_of_differences(self, problem):
        small = problem[0][:6] / problem[0][:6].sum(), problem[1][:5] / problem[1][:5].sum(), problem[2][:6, :5]
        a, b, costs = (self.torch.tensor(array, requires_grad=True) for array in small)
        free = lambda a, b, costs: pot.sinkhorn2(a / a.sum(), b / b.sum(), costs, 0.5, stopThr=1e-14, numItermax=100_000)
        assert self.torch.autograd.gradcheck(free, (a, b, costs), atol=1e-6)

    def test_what_has_no_gradient_says_so(self, problem):
        costs = self.torch.tensor(problem[2], requires_grad=True)
        with pytest.warns(UserWarning, match="take sinkhorn2"):
            assert not pot.sinkhorn([], [], costs, 1.0).requires_grad
        value = pot.sinkhorn2([], [], costs, 1.0)
        (gradient,) = self.torch.autograd.grad(value, costs, create_graph=True)
        with pytest.raises(NotImplementedError, match="no second"):
            gradient.square().sum().backward()
