"""Small random networks of every activation, prediction, clock and embedding of time, and what PyTorch says they predict.

pip install torch==2.15.0 numpy==2.4.6 safetensors==0.8.0 && python make.py
"""
import math
import torch
from safetensors.torch import save_file

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
ACTIVATIONS = {"relu": torch.nn.ReLU(), "silu": torch.nn.SiLU(), "tanh": torch.nn.Tanh(), "gelu": torch.nn.GELU(),
               "gelu-tanh": torch.nn.GELU(approximate="tanh"), "softplus": torch.nn.Softplus()}
B0, B1 = 0.1, 20.0


def level(schedule, t):
    """alpha, sigma and their derivatives at t (1 at the data), by autograd."""
    u = 1 - t
    alpha, sigma = {
        "condot": lambda: (t, u),
        "trigonometric": lambda: (torch.sin(math.pi / 2 * t), torch.cos(math.pi / 2 * t)),
        "linear-vp": lambda: (lambda T: (torch.exp(-T / 2), torch.sqrt(1 - torch.exp(-T))))(B0 * u + (B1 - B0) * u * u / 2),
        "cosine": lambda: (lambda a: (torch.sqrt(a), torch.sqrt(1 - a)))(
            torch.cos(math.pi / 2 * (u + 0.008) / 1.008) ** 2 / math.cos(math.pi / 2 * 0.008 / 1.008) ** 2),
        "ve": lambda: (0 * t + 1, 50.0**u * 0.01**t),
    }[schedule]()
    return alpha, sigma


def diffusers(c, features, flip_sin_to_cos=False, downscale_freq_shift=1, max_period=10000):
    """diffusers.models.embeddings.get_timestep_embedding."""
    half = features // 2
    exponent = -math.log(max_period) * torch.arange(half) / (half - downscale_freq_shift)
    phase = c * torch.exp(exponent)
    sin, cos = torch.sin(phase), torch.cos(phase)
    return torch.cat([cos, sin] if flip_sin_to_cos else [sin, cos], 1)


def transformer(c, features):
    """The positions of Vaswani et al. 2017."""
    encoding = torch.zeros(len(c), features)
    rate = torch.exp(torch.arange(0, features, 2) * (-math.log(10000.0) / features))
    encoding[:, 0::2], encoding[:, 1::2] = torch.sin(c * rate), torch.cos(c * rate)
    return encoding


class GaussianFourierProjection(torch.nn.Module):
    """Song et al. 2021; here W is trained."""

    def __init__(self, features, scale, dtype):
        super().__init__()
        self.W = torch.nn.Parameter((torch.randn(features // 2) * scale).to(dtype))

    def forward(self, c):
        projected = c * self.W[None, :] * 2 * math.pi
        return torch.cat([torch.sin(projected), torch.cos(projected)], -1)


FORMULAS = {  # features, keys, function
    "none": (0, {}, lambda c: c[:, :0]),
    "append": (1, {}, lambda c: c),
    "ddpm": (8, {"time_shift": "1"}, lambda c: diffusers(c, 8)),
    "dit": (6, {"time_order": "cos-sin", "time_period": "200"}, lambda c: diffusers(c, 6, True, 0, 200)),
    "transformer": (10, {"time_order": "alternating"}, lambda c: transformer(c, 10)),
}


def embedding(time, dtype):
    """How many features of time there are, keys, tensors, and the function of c."""
    if time == "sinusoidal":
        omega = torch.exp(-math.log(1e4) * torch.arange(4) / 4).to(dtype)
        return 8, {"time": time}, {"frequencies": omega}, lambda c: torch.cat([(c * omega).sin(), (c * omega).cos()], 1)
    if time == "fourier":
        projection = GaussianFourierProjection(12, 2.0, dtype)
        return 12, {"time": time}, {"frequencies": projection.W.detach().clone()}, projection.double()
    features, keys, function = FORMULAS[time]
    keys = {"time": time} if features < 2 else {"time": "sinusoidal", "time_features": str(features)} | keys
    return features, keys, {}, function


CASES = [  # name, d, activation, prediction, schedule, time, clock, scale, offset, sigma_data, dtype
    ("velocity", 2, "silu", "velocity", "condot", "append", "t", 1, 0, None, torch.float32),
    ("eps", 3, "gelu", "eps", "linear-vp", "sinusoidal", "1-t", 1000, -1, None, torch.float32),
    ("edm", 2, "tanh", "x0", "ve", "append", "log-sigma", 0.25, 0, 0.5, torch.float64),
    ("v", 2, "gelu-tanh", "v", "trigonometric", "sinusoidal", "t", 1, 0, None, torch.float16),
    ("score", 2, "softplus", "score", "cosine", "append", "sigma", 0.5, 0, None, torch.bfloat16),
    ("x0", 1, "relu", "x0", "condot", "none", None, 1, 0, None, torch.float32),
    ("fourier", 2, "silu", "v", "trigonometric", "fourier", "t", 1, 0, None, torch.float32),
    ("ddpm", 3, "gelu", "eps", "linear-vp", "ddpm", "1-t", 1000, -1, None, torch.float32),
    ("dit", 2, "tanh", "velocity", "condot", "dit", "1-t", 100, 0, None, torch.float64),
    ("transformer", 1, "softplus", "x0", "ve", "transformer", "log-sigma", 0.25, 0, 0.5, torch.float32),
]
reference = {}
for name, d, activation, prediction, schedule, time, clock, scale, offset, sigma_data, dtype in CASES:
    features, keys, of_time, phi = embedding(time, dtype)
    net = torch.nn.Sequential(torch.nn.Linear(d + features, 16), ACTIVATIONS[activation], torch.nn.Linear(16, 16),
                              ACTIVATIONS[activation], torch.nn.Linear(16, d)).to(dtype)
    tensors = {key: value.clone() for key, value in net.state_dict().items()}
    net = net.double()  # the weights as rounded, the arithmetic in f64
    t = torch.linspace(0.05, 0.95, 8, requires_grad=True)
    alpha, sigma = level(schedule, t)
    alpha_dot, sigma_dot = (torch.autograd.grad(a.sum(), t, retain_graph=True)[0][:, None] if a.requires_grad else 0 * t[:, None] for a in (alpha, sigma))
    alpha, sigma, t = alpha.detach()[:, None], sigma.detach()[:, None], t.detach()
    x = alpha * torch.randn(8, d) + sigma * torch.randn(8, d)
    x = x.float().double()
    with torch.no_grad():
        c = {None: t, "t": t, "1-t": 1 - t, "sigma": (sigma / alpha)[:, 0], "log-sigma": (sigma / alpha).log()[:, 0]}[clock]
        c = (scale * c + offset)[:, None]
        if sigma_data is None:
            y = net(torch.cat([x, phi(c)], 1))
        else:  # Karras et al. 2022, table 1
            q, z = sigma / alpha, x / alpha
            total = (q * q + sigma_data**2).sqrt()
            y = sigma_data**2 / total**2 * z + q * sigma_data / total * net(torch.cat([z / total, phi(c)], 1))
        if prediction == "x0":
            x0, eps = y, (x - alpha * y) / sigma
        elif prediction in ("eps", "score"):
            eps = y if prediction == "eps" else -sigma * y
            x0 = (x - sigma * eps) / alpha
        else:  # two equations: x = alpha x0 + sigma eps, y = p x0 + q eps
            p, q = (-sigma, alpha) if prediction == "v" else (alpha_dot, sigma_dot)
            determinant = alpha * q - sigma * p
            x0, eps = (q * x - sigma * y) / determinant, (alpha * y - p * x) / determinant
    tensors |= {"check.x": x, "check.t": t, "check.y": y} | of_time
    metadata = {"brenier": "mlp", "layers": "0,2,4", "activation": activation, "prediction": prediction, "schedule": schedule} | keys
    metadata |= {} if clock is None else {"clock": clock, "clock_scale": str(scale), "clock_offset": str(offset)}
    metadata |= {} if sigma_data is None else {"sigma_data": str(sigma_data)}
    save_file({key: value.contiguous() for key, value in tensors.items()}, f"{name}.safetensors", metadata)
    reference |= {f"{name}.x": x, f"{name}.t": t, f"{name}.y": y, f"{name}.x0": x0, f"{name}.eps": eps}
save_file({key: value.clone(memory_format=torch.contiguous_format) for key, value in reference.items()}, "reference.safetensors")
