"""Clouds that many tests use."""

import numpy as np
import pytest


@pytest.fixture
def clouds():
    """300 points of a normal law and as many of it shifted, f64."""
    draw = np.random.default_rng(0)
    return draw.normal(size=(300, 2)), draw.normal(size=(300, 2)) + [2.0, -1.0]
