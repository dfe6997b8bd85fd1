"""Small networks with random weights, exported by both of PyTorch's exporters, and what PyTorch says they predict.

pip install torch==2.15.0 diffusers==0.42.1 onnx==1.23.2 onnxscript==0.7.2 numpy==2.4.6; python export.py

A perceptron of points in the plane; a U-Net of diffusers with attention; a diffusion transformer. NAME-script.onnx is by the exporter of
TorchScript, NAME-dynamo.onnx by that of torch.export. exported.npz holds points, times and the predictions at each of the times.
"""

import math
import warnings

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from diffusers import UNet2DModel
from torch.nn import GELU, Conv2d, LayerNorm, Linear, Module, ModuleList, Parameter, Sequential, SiLU

warnings.filterwarnings("ignore")
torch.manual_seed(0)
torch.set_num_threads(1)


def fourier(t, pairs, top):
    angles = t[:, None] * torch.exp(torch.linspace(0, math.log(top), pairs))
    return torch.cat([angles.sin(), angles.cos()], 1)


class Perceptron(Module):
    def __init__(self):
        super().__init__()
        self.net = Sequential(Linear(10, 32), SiLU(), Linear(32, 32), SiLU(), Linear(32, 2))

    def forward(self, x, t):
        return self.net(torch.cat([x, fourier(t, 4, 30)], 1))


class UNet(Module):
    def __init__(self):
        super().__init__()
        self.net = UNet2DModel(
            sample_size=32, block_out_channels=(4, 4), layers_per_block=1, norm_num_groups=2, attention_head_dim=4,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        )

    def forward(self, x, t):
        return self.net(x, t, return_dict=False)[0]


class Block(Module):
    """Attention and a perceptron, each modulated by the time (adaLN)."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm = LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.qkv, self.out = Linear(width, 3 * width), Linear(width, width)
        self.modulation = Sequential(SiLU(), Linear(width, 6 * width))
        self.net = Sequential(Linear(width, 2 * width), GELU(approximate="tanh"), Linear(2 * width, width))

    def forward(self, x, c):
        a = self.modulation(c)[:, None].chunk(6, -1)
        n, tokens, width = x.shape
        qkv = self.qkv(self.norm(x) * (1 + a[1]) + a[0]).reshape(n, tokens, 3, self.heads, width // self.heads)
        y = F.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4).unbind(0))
        x = x + a[2] * self.out(y.transpose(1, 2).reshape(n, tokens, width))
        return x + a[5] * self.net(self.norm(x) * (1 + a[4]) + a[3])


class Transformer(Module):
    def __init__(self, width=16, depth=2, heads=2, patch=4, size=32):
        super().__init__()
        self.patch, self.grid = patch, size // patch
        self.embed = Conv2d(3, width, patch, patch)
        self.position = Parameter(0.1 * torch.randn(1, self.grid**2, width))
        self.time = Sequential(Linear(16, width), SiLU(), Linear(width, width))
        self.blocks = ModuleList(Block(width, heads) for _ in range(depth))
        self.norm, self.out = LayerNorm(width, elementwise_affine=False, eps=1e-6), Linear(width, patch**2 * 3)

    def forward(self, x, t):
        c, h = self.time(fourier(t, 8, 1000)), self.embed(x).flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            h = block(h, c)
        h = self.out(self.norm(h)).reshape(-1, self.grid, self.grid, self.patch, self.patch, 3)
        return torch.einsum("nhwpqc->nchpwq", h).reshape(x.shape)


def export(net, name, points, times):
    """Both files; n is free in each."""
    t = torch.full([len(points)], times[0])
    names = {"input_names": ["x", "t"], "output_names": ["y"]}
    free = {key: {0: "n"} for key in "xty"}
    torch.onnx.export(net, (points, t), f"{name}-script.onnx", dynamo=False, opset_version=17, dynamic_axes=free, **names)
    n = torch.export.Dim("n", min=1, max=4096)
    shapes = {"dynamic_shapes": ({0: n}, {0: n}), "external_data": False, "verbose": False}
    torch.onnx.export(net, (points, t), f"{name}-dynamo.onnx", dynamo=True, opset_version=20, **shapes, **names)
    for path in (f"{name}-script.onnx", f"{name}-dynamo.onnx"):
        model = onnx.load(path)
        for part in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
            part.ClearField("metadata_props")  # where in the source a node comes from, half of the file
        onnx.save(model, path)


pictures = torch.randn(2, 3, 32, 32)
arrays = {"pictures": pictures.numpy()}
for name, net, points, times in (
    ("perceptron", Perceptron(), torch.randn(16, 2), [0.25, 0.75]),
    ("unet", UNet(), pictures, [99, 749]),
    ("dit", Transformer(), pictures, [0.25, 0.75]),
):
    net.eval()
    with torch.inference_mode():
        y = torch.stack([net(points, torch.full([len(points)], t)) for t in times])
    arrays |= {f"{name}.t": np.array(times, np.float32), f"{name}.y": y.numpy()}
    if points is not pictures:
        arrays[f"{name}.x"] = points.numpy()
    export(net, name, points, times)
np.savez_compressed("exported.npz", **arrays)
