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
        self.span(0.0, 1.0)
        self._stretch = bool(image)
        entries = [*joint, *image]
        self._pipeline = _compose(entries) if entries else None

    def span(self, low: float, high: float) -> None:
        """Set the lowest and highest value of float images.

        Transforms that change values are made for 0 to 1, which a 12-bit camera in 16-bit files does not nearly fill:
        they see the images stretched from this span to 0 to 1, and the result is brought back.
        """
        self.low, self.range = np.float32(low), np.float32(high - low or 1.0)

    def __call__(self, image: np.ndarray[Any, Any], seed: int) -> np.ndarray[Any, Any]:
        """Return the transformed image.

        Args:
            image: H x W x C, ``uint8``, or ``float32`` within the span (values beyond it may be cut off).
            seed: 0..2^32-1; the same seed gives the same result, whatever was transformed before.
        """
        if self._pipeline is None:
            return image
        self._pipeline.set_random_seed(seed)
        stretch = self._stretch and image.dtype == np.float32
        result = self._pipeline(image=(image - self.low) / self.range if stretch else image)["image"]
        if stretch:
            result = result * self.range + self.low
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
