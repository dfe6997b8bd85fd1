"""Samplers over laws, points and functions, and flows down potentials."""

import numpy as np
import pytest

import brenier

MEAN = np.array([1.0, -2.0])


def velocity(x, t):
    """The flow of independent pairs from N(0, I) to N(MEAN, I/4), in closed form: t of data, 1 − t of noise."""
    t = t[:, None].astype(np.float64)
    variance = (1 - t) ** 2 + 0.25 * t**2
    return MEAN + (0.25 * t - (1 - t)) / variance * (x - t * MEAN)


def law():
    return brenier.mixture([1.0], [MEAN], [np.eye(2) / 4])


def test_a_function_moves_particles_as_the_law_does():
    start = np.random.default_rng(0).normal(size=(500, 2))
    for method in ("fm-heun", "ddim", "dopri5"):
        keywords = {} if method == "dopri5" else {"steps": 12, "grid": "trailing", "schedule": "condot"}
        of_law = brenier.sample(law(), method=method, start=start, **keywords)
        of_function = brenier.sample(velocity, method=method, start=start, **keywords)
        assert np.abs(of_law.points - of_function.points).max() < 1e-5, method
    assert of_law.nfe > 0 and "500 samples" in repr(of_law)


def test_a_function_is_told_the_clock_that_it_knows():
    seen = []

    def denoised(x, t):
        seen.append((x.shape, x.dtype, float(t[0])))
        return np.broadcast_to(MEAN, x.shape)

    samples = brenier.sample(denoised, method="ddim", steps=4, n=10, dim=2, prediction="x0", schedule="ddpm", clock="index")
    assert np.allclose(samples.points, MEAN, atol=1e-2) and [t for _, _, t in seen] == [999.0, 749.0, 499.0, 249.0]
    assert seen[0][:2] == ((10, 2), np.float32)


def test_what_a_function_raises_comes_through():
    def broken(x, t):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as raised:
        brenier.sample(broken, method="fm-euler", dim=2)
    assert any("broken" in str(frame) for frame in raised.traceback)
    with pytest.raises(ValueError, match=r"shape \[4096, 1\] for points of shape \[4096, 2\]"):
        brenier.sample(lambda x, t: x[:, :1], method="fm-euler", dim=2)
    with pytest.raises(ValueError, match="in which dimension"):
        brenier.sample(velocity, method="fm-euler")
    with pytest.raises(ValueError, match="schedule"):
        brenier.sample(velocity, method="ddim", dim=2, prediction="eps")
    with pytest.warns(brenier.BrenierWarning, match="not finite"):
        brenier.sample(lambda x, t: x * np.inf, method="fm-euler", dim=2, n=5)


def test_trajectories_and_densities():
    samples = brenier.sample(law(), method="fm-heun", steps=20, n=200, trajectory=True, log_p=True, precision="f64")
    assert samples.trajectory.shape == (21, 200, 2) and (samples.trajectory[-1] == samples.points).all()
    assert np.abs(samples.log_p - law().log_density(samples.points)).max() < 0.05
    assert np.allclose(law().score(samples.points), -4 * (samples.points - MEAN), atol=1e-6)


def test_points_end_on_points():
    data = np.random.default_rng(0).normal(size=(20, 3))
    samples = brenier.sample(data, method="fm-heun", steps=30, n=100)
    assert samples.points.dtype == np.float64
    assert np.abs(samples.points[:, None] - data).max(axis=2).min(axis=1).max() < 1e-6


def test_a_potential_is_descended():
    flow = brenier.jko(np.random.default_rng(0).normal(size=(2000, 1)), lambda x: (2 * (x[:, 0] - 1) ** 2, 4 * (x - 1)), tau=0.05, steps=40)
    # Langevin on N(1, 1/4): the stationary variance of step tau is 1/4 / (1 − 4 tau / 2).
    assert abs(flow.particles.mean() - 1) < 4 * (0.28 / 2000) ** 0.5
    assert abs(flow.particles.var() / (0.25 / 0.9) - 1) < 4 * (2 / 2000) ** 0.5
    assert len(flow.steps) == 41

    def broken(x):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        brenier.jko(np.zeros((5, 1)), broken, tau=0.1)
    with pytest.raises(ValueError, match="say how long a step is"):
        brenier.jko(np.zeros((5, 1)), lambda x: (x[:, 0], x))
    with pytest.raises(ValueError, match="gradients of shape"):
        brenier.jko(np.zeros((5, 1)), lambda x: (x[:, 0], x[:2]), tau=0.1)


def test_the_ruler_tells_copies_from_draws():
    law = brenier.Law("8gaussians")
    train, fresh = law.sample(400, seed=1), law.sample(400, seed=2)
    copies = brenier.evaluate(train, fresh, train=train, permutations=0)
    draws = brenier.evaluate(law.sample(400, seed=3), fresh, train=train, permutations=0)
    assert "memorised" in copies.flags and "memorised" not in draws.flags
    assert draws.divergence < 5 * draws.noise_floor["divergence"] and "Evaluation" in repr(draws)
