"""The exact fields of N(m, s² I), m = (1, -2), s = 1/2, as ONNX files that take points and a time in the ways that models do.

pip install onnx==1.23.2 numpy==2.4.6; python make.py
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MEAN, VARIANCE = np.array([1.0, -2.0], np.float32), np.float32(0.25)


def save(name, nodes, inputs, constants, points=("n", 2), outside=None):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        name,
        [value(key, kind, shape) for key, kind, shape in inputs],
        [value("y", TensorProto.FLOAT, points)],
        [numpy_helper.from_array(np.asarray(array), key) for key, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    for constant in model.graph.initializer:
        if constant.name == outside:
            onnx.external_data_helper.set_external_data(constant, f"{outside}.bin", 0, len(constant.raw_data))
            constant.ClearField("raw_data")
    with open(f"{name}.onnx", "wb") as file:
        file.write(model.SerializeToString())


def node(op, inputs, output, **attributes):
    return helper.make_node(op, inputs.split(), [output], **attributes)


FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64

def centred(alpha):
    """x − α m."""
    return [node("Mul", f"{alpha} mean", "am"), node("Sub", "x am", "centred")]


# ε̂ = σ (x − α m)/(α² s² + σ²) on the table of DDPM; the time is the entry, an integer for each point.
alpha_bar = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
alpha, sigma = np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar)
scale = sigma / (alpha_bar * VARIANCE + 1 - alpha_bar)
eps = [
    node("Gather", "scale entry", "s"),
    node("Gather", "alpha entry", "a"),
    node("Unsqueeze", "s one", "s1"),
    node("Unsqueeze", "a one", "a1"),
    *centred("a1"),
    node("Mul", "s1 centred", "y"),
]
tables = {"scale": scale.astype(np.float32), "alpha": alpha.astype(np.float32), "mean": MEAN, "one": np.array([1])}
save("eps", eps, [("x", FLOAT, ["n", 2]), ("entry", INT, ["n"])], tables)

# Weights that are not numbers, as training that diverged leaves them.
save("nan", eps, [("x", FLOAT, ["n", 2]), ("entry", INT, ["n"])], tables | {"mean": np.float32([np.nan, 0])})

# Two samples a call, no more and no less, as an export without dynamic axes has it.
save("fixed", eps, [("x", FLOAT, [2, 2]), ("entry", INT, [2])], tables, [2, 2])

# Under a condition: N(m_c, s² I), c the class of each point, 0 or 1, and 2 for none of them.
means = np.array([[1, -2], [-1, 0], [0, 1]], np.float32)
save(
    "classes",
    [node("Gather", "means class", "mean"), *eps],
    [("x", FLOAT, ["n", 2]), ("entry", INT, ["n"]), ("class", INT, ["n"])],
    {key: array for key, array in tables.items() if key != "mean"} | {"means": means},
)

# The velocity of rectified flow, dx/ds = ε̂ − x̂₀ with s = 1 − t, 1 at noise; one number 1000 s for all points.
# With α = 1 − s, σ = s: ε̂ = σ u, x̂₀ = m + α s² u, u = (x − α m)/(α² s² + σ²).
velocity = [
    node("Div", "time thousand", "sigma"),
    node("Sub", "unit sigma", "alpha"),
    *centred("alpha"),
    node("Mul", "alpha alpha", "aa"),
    node("Mul", "aa variance", "aav"),
    node("Mul", "sigma sigma", "ss"),
    node("Add", "aav ss", "total"),
    node("Div", "centred total", "u"),
    node("Mul", "sigma u", "noise"),
    node("Mul", "alpha variance", "av"),
    node("Mul", "av u", "shift"),
    node("Add", "mean shift", "data"),
    node("Sub", "noise data", "y"),
]
numbers = {"thousand": np.float32(1000), "unit": np.float32(1), "mean": MEAN, "variance": VARIANCE}
save("velocity", velocity, [("x", FLOAT, ["n", 2]), ("time", FLOAT, [])], numbers)

# The same with its mean in a file beside it, which need not be there: mean.bin.
save("beside", velocity, [("x", FLOAT, ["n", 2]), ("time", FLOAT, [])], numbers, outside="mean")

# The same under a vector of three numbers, of which two are the mean; two samples a call.
del numbers["mean"]
numbers["basis"] = np.float32([[1, 0], [0, 1], [0, 0]])
vector = [("vector", FLOAT, [2, 3]), ("x", FLOAT, [2, 2]), ("time", FLOAT, [])]
save("vectors", [node("MatMul", "vector basis", "mean"), *velocity], vector, numbers, [2, 2])

# A picture of 1 × 1 × 2 pixels, with an input of labels.
picture = [node("Identity", "image", "y")]
save("labels", picture, [("image", FLOAT, ["n", 1, 1, 2]), ("timestep", FLOAT, ["n"]), ("label", INT, ["n"])], {}, ["n", 1, 1, 2])

# The extent of a point is not fixed.
save("open", picture, [("image", FLOAT, ["n", 1, "height", "width"]), ("timestep", FLOAT, ["n"])], {}, ["n", 1, "height", "width"])

# Predictions of another shape than the points.
save("wide", [node("Concat", "x x", "y", axis=1)], [("x", FLOAT, ["n", 2]), ("time", FLOAT, ["n"])], {}, ["n", 4])
