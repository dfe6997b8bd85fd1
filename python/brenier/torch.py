"""The Sinkhorn divergence as a loss of PyTorch.

    loss = brenier.torch.divergence(x, y, eps=0.1)
    loss.backward()

It has first derivatives, and refuses second ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Optional

import torch
from torch.autograd import Function

from brenier import _transport

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from brenier._transport import Solver


class _Once(Function):  # type: ignore[misc,unused-ignore]
    """upstream · gradient, which depends on `_input` by a derivative that there is not: better refused than taken for zero."""

    @staticmethod
    def forward(ctx: Any, upstream: torch.Tensor, gradient: torch.Tensor, _input: torch.Tensor) -> torch.Tensor:
        return upstream * gradient

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        raise NotImplementedError("brenier has first derivatives of its losses and no second; leave out create_graph=True")


class Valued(Function):  # type: ignore[misc,unused-ignore]
    """A number whose value and gradients come from a solver: `solve` takes the inputs, and gives the value and each gradient."""

    @staticmethod
    def forward(ctx: Any, solve: Callable[..., tuple[float, list[torch.Tensor]]], *inputs: torch.Tensor) -> torch.Tensor:
        value, gradients = solve(*(tensor.detach() for tensor in inputs))
        ctx.save_for_backward(*inputs, *(gradient.to(tensor) for gradient, tensor in zip(gradients, inputs, strict=True)))
        return inputs[0].new_tensor(value)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> Any:
        (upstream,) = grad_outputs
        inputs, gradients = ctx.saved_tensors[: (half := len(ctx.saved_tensors) // 2)], ctx.saved_tensors[half:]
        wanted = zip(gradients, inputs, ctx.needs_input_grad[1:], strict=True)
        return (None, *(_Once.apply(upstream, gradient, of) if needed else None for gradient, of, needed in wanted))


def divergence(
    x: torch.Tensor,
    y: torch.Tensor,
    a: Optional[torch.Tensor] = None,
    b: Optional[torch.Tensor] = None,
    **asked: Unpack[Solver],
) -> torch.Tensor:
    """The Sinkhorn divergence S_ε(a, b) of :func:`brenier.divergence` under c = ½|x − y|², a tensor without dimensions that can
    be differentiated once in x, y, a and b.

    x is n × d, y is m × d; a and b are scaled to add up to one, and gradients are those of the scaled weights. The keywords are
    those of :func:`brenier.divergence`; gradients are as exact as `tol` makes the marginals.

    >>> import torch, brenier.torch
    >>> x = torch.zeros(1, 2, requires_grad=True)
    >>> loss = brenier.torch.divergence(x, torch.tensor([[3.0, 4.0]]), eps=0.1)
    >>> loss.backward()
    >>> loss.item(), x.grad
    (12.5, tensor([[-3., -4.]]))
    """
    a, b = (torch.full_like(p[:, 0], 1 / len(p)) if w is None else w / w.sum() for p, w in ((x, a), (y, b)))

    def solve(*ends: torch.Tensor) -> tuple[float, list[torch.Tensor]]:
        found = _transport.divergence(*ends, **asked)
        return found.value, [found.gradient_x, found.gradient_y, found.gradient_a, found.gradient_b]

    return Valued.apply(solve, x, y, a, b)
