"""Keeping a trained trunk as it is while the layers behind it learn."""

from __future__ import annotations

from typing import ClassVar, Self

from torch import nn


class Freezable(nn.Module):
    """A network with a trunk, the child of the name ``trunk``, that can be frozen."""

    trunk: ClassVar[str]
    frozen: bool = False

    def set_frozen(self, frozen: bool) -> None:
        """Freeze the trunk, weights and running statistics, or let it learn again; optimizers are to be made after it.

        What the trunk itself never trains stays so.
        """
        trunk = self.get_submodule(self.trunk)
        if frozen and not self.frozen:
            self._learning = {name for name, parameter in trunk.named_parameters() if parameter.requires_grad}
        if frozen != self.frozen:
            for name, parameter in trunk.named_parameters():
                parameter.requires_grad_(not frozen and name in self._learning)
        self.frozen = frozen
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.frozen:
            # Batch normalisation would otherwise go on adapting its running statistics.
            self.get_submodule(self.trunk).eval()
        return self
