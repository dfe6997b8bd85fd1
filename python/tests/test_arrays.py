"""What is taken, what is refused and how, and that nothing is copied."""

import subprocess
import sys

import numpy as np
import pytest

import brenier


def test_strides_types_and_lists_are_the_same_numbers(clouds):
    x, y = clouds
    wanted = brenier.sinkhorn(x, y, eps=0.2)
    wide = np.repeat(np.repeat(x, 2, axis=0), 3, axis=1)
    read_only = x.copy()
    read_only.flags.writeable = False
    for same in (wide[::2, ::3], np.asfortranarray(x), x[::-1][::-1], x.tolist(), read_only, x.reshape(300, 2, 1)):
        assert brenier.sinkhorn(same, y, eps=0.2).cost == wanted.cost
    assert brenier.sinkhorn(x[:, 0], y[:, 0], eps=0.2).cost == brenier.sinkhorn(x[:, :1], y[:, :1], eps=0.2).cost
    whole = np.arange(12).reshape(6, 2)
    assert abs(brenier.exact(whole, whole + 1).w2_squared - 2.0) < 1e-12


def test_results_have_the_precision_of_the_input(clouds):
    x, y = (array.astype(np.float32) for array in clouds)
    single = brenier.sinkhorn(x, y, eps=0.2)
    assert single.f.dtype == single.map().dtype == np.float32 and single.precision == "f32"
    double = brenier.sinkhorn(x.astype(float), y.astype(float), eps=0.2)
    assert double.f.dtype == np.float64 and double.precision == "f64"
    assert brenier.sinkhorn(x, y, eps=0.2, precision="f64").precision == "f64"
    assert abs(single.cost / double.cost - 1) < 1e-4
    half = brenier.sinkhorn(x.astype(np.float16), y, eps=0.2)
    assert abs(half.cost / double.cost - 1) < 1e-2


@pytest.mark.parametrize(
    "x, error, words",
    [
        (np.array([[object()]]), TypeError, "x is an array of object; give one of real numbers"),
        (np.array([["a"]]), TypeError, "give one of real numbers"),
        (np.zeros((2, 2), complex), TypeError, "real numbers"),
        (np.array([[np.nan, 0.0]]), ValueError, "x: row 0, column 0 is NaN"),
        (np.array([[np.inf, 0.0]]), ValueError, "x: row 0, column 0 is inf"),
        (np.zeros((0, 2)), ValueError, "x: the cloud is empty"),
        (np.zeros((3, 0)), ValueError, "x: the cloud is empty"),
        (np.zeros((3, 5)), ValueError, "must live in the same space"),
        (np.float64(1.0), ValueError, "a number is not a cloud"),
        (None, TypeError, "x and y are points"),
    ],
)
def test_what_is_not_a_cloud_is_refused_in_words(x, error, words):
    with pytest.raises(error, match=words):
        brenier.sinkhorn(x, np.zeros((3, 2)), eps=0.1)


@pytest.mark.parametrize(
    "keywords, error, words",
    [
        ({"a": np.zeros(3)}, ValueError, "a: the weights add up to zero"),
        ({"a": np.ones(4)}, ValueError, "4 weights for 3 points"),
        ({"a": -np.ones(3)}, ValueError, "must be finite and not negative"),
        ({"eps": -1.0}, ValueError, "finite eps above zero"),
        ({"eps": 1.0, "blur": 1.0}, ValueError, "give one of them"),
        ({"blur": 0.0}, ValueError, "blur = 0"),
        ({"reach": -1.0}, ValueError, "reach = -1"),
        ({"cost": "manhattan"}, ValueError, "cost: "),
        ({"cost": np.zeros((2, 2, 2))}, ValueError, "costs are n x m"),
        ({"cost": np.full((3, 3), np.nan)}, ValueError, "cost: row 0, column 0 is NaN"),
        ({"convention": "sinkhorn"}, ValueError, "there is no convention"),
        ({"precision": "f16"}, ValueError, "there is no precision"),
        ({"device": "abacus"}, ValueError, "there is no device"),
        ({"epsilon": 1.0}, TypeError, "no keyword epsilon; did you mean eps"),
    ],
)
def test_keywords_that_make_no_problem_are_refused_in_words(keywords, error, words):
    x = np.arange(6.0).reshape(3, 2)
    a = keywords.pop("a", None)
    with pytest.raises(error, match=words):
        brenier.sinkhorn(x, x, a, **keywords)


def test_sentences_name_keywords_and_not_flags():
    with pytest.raises(ValueError) as refused:
        brenier.sample("8gaussians", method="dopri5", steps=5)
    assert "leave steps out" in str(refused.value) and "--" not in str(refused.value)


def test_points_are_used_where_they_lie():
    for dtype in (np.float32, np.float64):
        x = np.zeros((1000, 3), dtype)
        assert brenier._brenier.address(x) == x.ctypes.data
        assert brenier._brenier.address(x[10:20]) == x[10:20].ctypes.data
        assert brenier._brenier.address(x[:, :2]) != x.ctypes.data, "columns of a wider array are gathered"


def test_import_is_quick_and_light():
    code = "import numpy, sys, time; t = time.perf_counter(); import brenier; print(time.perf_counter() - t, 'torch' in sys.modules)"
    runs = [subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split() for _ in range(3)]
    assert all(light == "False" for _, light in runs)
    assert min(float(seconds) for seconds, _ in runs) < 1.0  # 0.03 s on a quiet machine


def test_docstrings_say_what_is_taken():
    for name in brenier.__all__:
        assert getattr(brenier, name).__doc__, name
