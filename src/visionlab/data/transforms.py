"""Augmentation in two lists: joint (geometry, image and targets alike) and image only (colour, blur, noise)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from visionlab.errors import ConfigError

Entry = Mapping[str, Any]


class Augment:
    """Albumentations transforms whose randomness comes only from the seed given with each sample.

    Args:
        joint: entries ``{transform: NAME, **arguments}`` of geometric transforms.
        image: the same for transforms that change values and must not touch targets.

    Raises:
        ConfigError: a transform does not exist or does not take an argument.
    """

    def __init__(self, joint: Sequence[Entry], image: Sequence[Entry]) -> None:
        self.changes_values = bool(image)
        entries = [*joint, *image]
        self._pipeline = _compose(entries) if entries else None

    def __call__(self, image: np.ndarray[Any, Any], seed: int) -> np.ndarray[Any, Any]:
        """Return the transformed image.

        Args:
            image: H x W x C, ``uint8``, or ``float32`` in 0..1 (any range if no image-only transforms are listed).
            seed: 0..2^32-1; the same seed gives the same result, whatever was transformed before.
        """
        if self._pipeline is None:
            return image
        self._pipeline.set_random_seed(seed)
        result = self._pipeline(image=image)["image"]
        # albumentations drops a single channel's axis in some transforms.
        return result if result.ndim == 3 else result[:, :, None]


def _compose(entries: Sequence[Entry]) -> Any:
    import albumentations

    transforms = []
    for entry in entries:
        arguments = {str(key): value for key, value in entry.items()}
        name = arguments.pop("transform")
        with warnings.catch_warnings():
            # albumentations only warns of arguments it does not know, and then ignores them.
            warnings.simplefilter("error", UserWarning)
            try:
                transforms.append(getattr(albumentations, name)(**arguments))
            except (AttributeError, TypeError, ValueError, UserWarning) as error:
                raise ConfigError(f"augment: {name}({arguments}) cannot be made: {error}") from error
    return albumentations.Compose(transforms)
