"""Plans, by closed forms and by what plans must obey."""

import warnings

import numpy as np
import pytest

import brenier


def test_the_plan_is_the_one_its_potentials_define(clouds):
    x, y = clouds
    result = brenier.sinkhorn(x, y, eps=0.3, tol=1e-10)
    cost = 0.5 * ((x[:, None] - y) ** 2).sum(axis=2)
    plan = np.exp((result.f[:, None] + result.g - cost) / result.eps) / (300 * 300)
    assert np.abs(plan.sum(axis=0) - 1 / 300).sum() < 1e-10 and np.abs(plan.sum(axis=1) - 1 / 300).sum() < 1e-10
    assert np.allclose(result.plan.matrix(), plan, rtol=1e-9, atol=0)
    assert np.isclose(result.cost, (plan * cost).sum(), rtol=1e-9)
    assert np.isclose(result.plan.entropy(), -(plan * np.log(plan)).sum(), rtol=1e-9)
    assert np.isclose(brenier.exact(x, y).plan.entropy(), np.log(300)) and brenier.low_rank(x, y, rank=2).plan.entropy() is None
    assert np.isclose(result.value, result.cost + result.eps * (plan * np.log(plan * 300 * 300)).sum(), rtol=1e-9)
    assert np.allclose(result.map(), 300 * plan @ y, atol=1e-9)
    assert result.converged and result.precision == "f64" and "entropic" in repr(result)


def test_what_a_plan_does_to_values_is_what_its_matrix_does(clouds):
    x, y = clouds
    a = np.random.default_rng(1).uniform(size=300)
    for result in (
        brenier.sinkhorn(x, y, a, eps=0.3, tol=1e-10),
        brenier.exact(x, y, a),
        brenier.low_rank(x, y, rank=4),
        brenier.sinkhorn(x, y, a, eps=0.3, reach=1.0, tol=1e-10),
    ):
        plan, matrix, values = result.plan, result.plan.matrix(), np.random.default_rng(2).normal(size=(300, 3))
        assert np.allclose(plan @ values, matrix @ values, atol=1e-9)
        assert np.allclose(plan.T @ values, matrix.T @ values, atol=1e-9)
        assert np.allclose(plan.pull(values), matrix @ values / matrix.sum(axis=1, keepdims=True), atol=1e-8)
        assert np.allclose(plan.T.pull(values[:, 0]), matrix.T @ values[:, 0] / matrix.sum(axis=0), atol=1e-8)
        mass = np.full(300, 1 / 300)
        pushed = plan.push(mass)
        assert np.allclose(pushed, (mass / matrix.sum(axis=1)) @ matrix, atol=1e-8) and np.isclose(pushed.sum(), 1.0)
        index, probability = plan.top_k(2)
        assert (index[:, 0] == matrix.argmax(axis=1)).mean() > 0.99 and (probability[:, 0] >= probability[:, 1]).all()
        assert plan.shape == (300, 300) and plan.T.shape == (300, 300)


def test_pairs_have_the_laws_of_both_ends(clouds):
    x, y = clouds
    exact = brenier.exact(x, y)
    i, j, mass = exact.plan.entries()
    assert len(i) == 300 and np.allclose(mass, 1 / 300), "a permutation"
    source, target = exact.plan.pairs(300)
    assert sorted(source) == list(range(300)) and sorted(target) == list(range(300))
    assert (target[np.argsort(source)] == j[np.argsort(i)]).all()
    pairs = brenier.couple(x, y, n=900)
    assert (np.bincount(pairs.source, minlength=300) == 3).all() and pairs.x0.shape == (900, 2)
    independent = ((x[:, None] - y) ** 2).sum(axis=2).mean()
    assert ((pairs.x1 - pairs.x0) ** 2).sum(axis=1).mean() < 0.8 * independent


def test_pairs_with_labels_use_every_source_in_every_class(clouds):
    x, y = clouds
    labels = np.arange(300) % 3
    pairs = brenier.couple(x, y, labels=labels, eps=0.1, n=1800)
    assert (labels[pairs.target] == pairs.label).all()
    for label in range(3):
        assert (np.bincount(pairs.source[pairs.label == label], minlength=300) == 2).all()


def test_gradients_are_those_of_central_differences(clouds):
    x, y = clouds[0][:20], clouds[1][:15]
    a = np.random.default_rng(3).uniform(0.5, 1.0, size=20)
    a /= a.sum()
    value = lambda x, y, a: brenier.divergence(x, y, a, eps=0.5, tol=1e-13, max_iter=100_000).value
    found = brenier.divergence(x, y, a, eps=0.5, tol=1e-13, max_iter=100_000)
    step = 1e-4
    for array, gradient, at in ((x, found.gradient_x, (3, 1)), (y, found.gradient_y, (7, 0))):
        moved = [array.copy(), array.copy()]
        moved[0][at] += step
        moved[1][at] -= step
        ends = [(m, y) if array is x else (x, m) for m in moved]
        difference = (value(*ends[0], a) - value(*ends[1], a)) / (2 * step)
        assert np.isclose(difference, gradient[at], rtol=1e-5, atol=1e-9)
    along = np.zeros(20)
    along[2], along[5] = 1.0, -1.0  # masses add up to one
    difference = (value(x, y, a + step * along) - value(x, y, a - step * along)) / (2 * step)
    assert np.isclose(difference, found.gradient_a @ along, rtol=1e-5)


def test_a_matrix_of_costs_is_the_cost_of_the_points(clouds):
    x, y = clouds[0][:40], clouds[1][:50]
    cost = np.abs(x[:, None] - y).sum(axis=2)
    named, given = brenier.sinkhorn(x, y, cost="lp:1", eps=0.2, tol=1e-9), brenier.sinkhorn(None, None, cost=cost, eps=0.2, tol=1e-9)
    assert np.isclose(named.cost, given.cost, rtol=1e-8) and given.w2_squared is None
    assert np.allclose(named.plan.matrix(), given.plan.matrix(), atol=1e-9)
    with pytest.raises(ValueError, match="there is no map"):
        given.map()


def test_exact_plans_of_other_costs_are_below_all_permutations(clouds):
    import itertools

    x, y = clouds[0][:6], clouds[1][:6]
    for name, cost in (
        ("euclidean", np.sqrt(((x[:, None] - y) ** 2).sum(axis=2))),
        ("lp:1", np.abs(x[:, None] - y).sum(axis=2)),
        (None, np.random.default_rng(0).normal(size=(6, 6))),
    ):
        least = min(cost[range(6), list(order)].mean() for order in itertools.permutations(range(6)))
        found = brenier.exact(None, None, cost=cost)
        assert found.kind == "exact" and np.isclose(found.cost, least) and np.isclose(found.dual, least)
        assert np.isclose((found.plan.matrix() * cost).sum(), least) and (found.f[:, None] + found.g <= cost + 1e-12).all()
        if name is not None:
            assert np.isclose(brenier.exact(x, y, cost=name).cost, least)


def test_conventions_of_other_libraries(clouds):
    x, y = clouds
    own = brenier.sinkhorn(x, y, eps=0.2)
    assert brenier.sinkhorn(x, y, eps=0.4, convention="pot").cost == own.cost
    assert brenier.sinkhorn(x, y, blur=0.2**0.5, convention="geomloss").cost == pytest.approx(own.cost, rel=1e-6)
    tau = 0.9
    reach = (0.2 * tau / (1 - tau)) ** 0.5
    assert np.isclose(
        brenier.sinkhorn(x, y, eps=0.2, tau_source=tau).cost, brenier.sinkhorn(x, y, eps=0.2, reach_source=reach).cost, rtol=1e-6
    )


def test_entropy_says_how_sharp_a_plan_is(clouds):
    x, y = clouds
    result = brenier.sinkhorn(x, y, entropy=0.3)
    # (H(P) − max of the ends' H)/(least of the ends' H): 0 of a map, 1 of independent pairs.
    renormalised = (result.entropy - np.log(300)) / np.log(300)
    assert abs(renormalised - 0.3) < 0.05 * 0.3 + 1e-3


def test_paths_have_the_right_ends_and_spread(clouds):
    x, y = clouds
    straight = brenier.geodesic(x, y, eps=0.01)
    assert np.allclose(straight.at(0.0), x) and np.allclose(straight.at(1.0), straight.transport.map(), atol=1e-6)
    assert np.allclose(straight.at(0.25), 0.75 * x + 0.25 * straight.transport.map(), atol=1e-6)
    still = np.zeros((20_000, 1))
    spread = brenier.bridge(still, still[:1], eps=2.0).at(0.3).var()
    assert abs(spread / (2.0 * 0.3 * 0.7) - 1) < 4 * (2 / 20_000) ** 0.5
    with pytest.raises(ValueError, match="times from 0"):
        straight.at(1.5)


def test_what_is_not_converged_is_warned_of(clouds):
    x, y = clouds
    with pytest.warns(brenier.ConvergenceWarning, match="not converged after 2 iterations"):
        result = brenier.sinkhorn(x, y, eps=1e-3, max_iter=2)
    assert not result.converged
    with pytest.warns(brenier.CollapseWarning, match="has collapsed"):
        brenier.sinkhorn(x, y, eps=100.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        brenier.sinkhorn(x, y)


def test_barycenters_of_shifted_clouds_are_in_the_middle(clouds):
    x, _ = clouds
    found = brenier.barycenter([x[:64], x[:64] + 4.0, x[:64] - 2.0], [1, 1, 2], n=64)
    assert np.allclose(found.points.mean(axis=0), x[:64].mean(axis=0) + (4.0 - 4.0) / 4, atol=0.02)
