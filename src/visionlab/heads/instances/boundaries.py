"""What a network can learn of instances beside their foreground: their boundary, or the distance to it. Pure torch.

Both are made of the ids of each batch on its device, after augmentation, so that they are right at whatever size and
under whatever deformation. Everything is done by pooling: the same ids give the same targets on any device.

Distances are counted in steps, alternately to 4 neighbours (the first step) and to 8: the octagonal distance of
Rosenfeld & Pfaltz 1968, "Distance functions on digital pictures", Pattern Recognition 1:33-61. Its circles are
octagons, so round objects get round maps; steps to 8 neighbours alone would cut diagonals short.
"""

from __future__ import annotations

import torch
from torch.nn import functional


@torch.no_grad()
def boundary(ids: torch.Tensor, width: int = 2) -> torch.Tensor:
    """Return 1 for the pixels of instances at most ``width`` steps from another instance or the background, else 0.

    Where two instances touch, the boundary is on both sides, ``width`` pixels each; background is never boundary. The
    image's edge and unknown pixels are none, and unknown pixels have 0.

    Args:
        ids: B x 1 x H x W, 0 background, NaN unknown.
        width: at least 1.

    Returns:
        B x 1 x H x W, float32.

    Raises:
        ValueError: the shape doesn't fit or the width is below 1.
    """
    _check("width", width)
    return ((_steps(ids, width + 1) <= width) & (ids > 0)).float()


@torch.no_grad()
def distance(ids: torch.Tensor, reach: int = 8) -> torch.Tensor:
    """Return how deep within its instance each pixel is: steps to the nearest pixel of another one or the background.

    In shares of ``reach``, 1 from there on: 1 / ``reach`` for the outermost pixels of an instance, 0 for background and
    for unknown pixels. The image's edge and unknown pixels are no end of an instance.

    Args:
        ids: B x 1 x H x W, 0 background, NaN unknown.
        reach: at least 1, in pixels.

    Returns:
        B x 1 x H x W, float32.

    Raises:
        ValueError: the shape doesn't fit or the reach is below 1.
    """
    _check("reach", reach)
    return torch.where(ids > 0, _steps(ids, reach) / reach, 0.0)


def _check(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name}: expected at least 1 pixel, found {value}")


def _steps(ids: torch.Tensor, most: int) -> torch.Tensor:
    """Return the steps to the nearest known pixel of another id, at most ``most``, float32."""
    if ids.ndim != 4 or ids.shape[1] != 1:
        raise ValueError(f"ids: expected B x 1 x H x W, found {tuple(ids.shape)}")
    own = ids.float()
    own = torch.cat([own, -own], dim=1)
    # The largest id within some steps and, with its sign turned, the smallest. Unknown pixels are the lowest in both:
    # no pool ever takes them, as if they lay beyond the image's edge.
    own = torch.where(own.isnan(), -torch.inf, own)
    seen, steps = own, torch.ones_like(ids, dtype=torch.float32)
    for step in range(1, most):
        across = functional.max_pool2d(seen, (1, 3), 1, (0, 1))
        if step % 2:
            seen = torch.maximum(across, functional.max_pool2d(seen, (3, 1), 1, (1, 0)))
        else:
            seen = functional.max_pool2d(across, (3, 1), 1, (1, 0))
        steps += (seen == own).all(dim=1, keepdim=True)
    return steps
