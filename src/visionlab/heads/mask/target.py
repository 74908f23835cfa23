"""Masks as targets: how their files are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from visionlab.console import LOG
from visionlab.data.definition import Target
from visionlab.data.preprocess import MapReader, Preprocess, Result, refuse_other_view
from visionlab.io import read_mask, resize_mask


@dataclass(frozen=True)
class MaskReader(MapReader):
    """Foreground masks, kept as 0 and 1.

    Args:
        like: of each mask's image, the size on disk and as it is kept.
        threshold: grey values from here on are foreground; None for masks of two values.
    """

    threshold: int | None

    facts: ClassVar[tuple[str, ...]] = ("height", "width", "dtype", "share", "grey", "hash")

    def spec(self) -> dict[str, Any]:
        return {**super().spec(), "threshold": self.threshold}

    def dtype(self, found: Mapping[str, str]) -> str:
        return "uint8"

    def read(self, path: Path, number: int, preprocess: Preprocess) -> Result:
        mask, about = read_mask(path, self.threshold)
        original, size = self.like[number]
        refuse_other_view(path, mask.shape, original)
        found = {**about, "height": mask.shape[0], "width": mask.shape[1], "share": float(mask.mean())}
        return resize_mask(mask, size)[:, :, None], found

    def report(self, found: Sequence[Mapping[str, Any]]) -> None:
        grey = [about for about in found if about["grey"] > 0]
        if grey and self.threshold is None:
            LOG.warning(
                "%d of %d masks hold grey values, as JPEG makes them: cut at half of the range; "
                "data.mask_threshold sets another value",
                len(grey),
                len(found),
            )


TARGET = Target(MaskReader, facts={"share": False}, ranges=("share",), telling="share")
