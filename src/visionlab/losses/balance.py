"""How the losses of several heads become the one that is minimised: ``balance(losses)``, losses by head name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from visionlab.errors import ConfigError, checked, nearest


class Balance(nn.Module):
    """A rule; subclasses write :meth:`total`.

    Args:
        names: of the heads.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)

    def forward(self, losses: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return one scalar.

        Args:
            losses: head name -> scalar, already multiplied by the head's weight.

        Raises:
            ValueError: they are not of the heads that the rule was made for.
        """
        if set(losses) != set(self.names):
            raise ValueError(f"balance: expected losses of {', '.join(self.names)}; found {', '.join(losses)}")
        return self.total(losses)

    def total(self, losses: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return one scalar from a loss for each name."""
        raise NotImplementedError


class Sum(Balance):
    """The sum."""

    def total(self, losses: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return torch.stack([losses[name] for name in self.names]).sum()


class ClampBalance(Balance):
    """The sum, with one head's loss multiplied up to the size of another's.

    ``losses[by] / max(0.001, losses[raised])``, limited to 1 to ``factor``, is what it is multiplied by, taken as a
    constant: no gradient flows through it.

    Args:
        names: of the heads.
        raised: the head whose loss is multiplied, never below itself.
        by: the head whose loss it is compared with.
        factor: the largest factor, at least 1.

    Raises:
        ConfigError: there is no such head, both are the same, or the factor is below 1.
    """

    @checked
    def __init__(self, names: Sequence[str], *, raised: str, by: str, factor: Annotated[float, Field(ge=1)]) -> None:
        super().__init__(names)
        for key, name in (("raised", raised), ("by", by)):
            if name not in self.names:
                listed = ", ".join(self.names)
                raise ConfigError(
                    f"balance.{key}: expected one of {listed}; found '{name}'.{nearest(name, self.names)}"
                )
        if raised == by:
            raise ConfigError(f"balance.by: expected another head than balance.raised, found '{by}' in both")
        self.raised, self.by, self.factor = raised, by, factor

    def total(self, losses: Mapping[str, torch.Tensor]) -> torch.Tensor:
        ratio = losses[self.by].detach() / losses[self.raised].detach().clamp(min=1e-3)
        factor = ratio.clamp(1, self.factor)
        return torch.stack([factor * loss if name == self.raised else loss for name, loss in losses.items()]).sum()


class UncertaintyBalance(Balance):
    """Sum of exp(-s) loss + s, with a learnt s for each head (Kendall et al. 2018): it begins as the plain sum.

    s is the logarithm of the scale of the head's errors (of their variance, for squared errors), at best that of its
    loss. So the total may be below 0, and a loss that comes near 0 weighs ever more. ``log_variances`` are parameters:
    to be given to the optimizer, without weight decay, and stored.

    Args:
        names: of the heads.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(names)
        self.log_variances = nn.ParameterDict({name: nn.Parameter(torch.zeros(())) for name in self.names})

    def total(self, losses: Mapping[str, torch.Tensor]) -> torch.Tensor:
        terms = [torch.exp(-self.log_variances[name]) * losses[name] + self.log_variances[name] for name in self.names]
        return torch.stack(terms).sum()
