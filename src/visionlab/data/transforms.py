"""Augmentation in two lists: joint (geometry, images and maps alike) and image only (colour, blur, noise)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from visionlab.errors import ConfigError

Entry = Mapping[str, Any]
Array = np.ndarray[Any, Any]


class Augment:
    """Albumentations transforms whose randomness comes only from the seed given with each sample.

    Several images of one sample (image and background) get the same geometry and the same change of colours: they
    come from one camera. Maps get the geometry only, by nearest neighbour, so that no value arises that was not there.

    Args:
        joint: entries ``{transform: NAME, **arguments}`` of geometric transforms; ``{one_of: [entries], p: share}``
            takes one of several.
        image: the same for transforms that change values and must not touch maps.

    Raises:
        ConfigError: a transform does not exist, does not take an argument, or stands in the wrong list.
    """

    def __init__(self, joint: Sequence[Entry], image: Sequence[Entry]) -> None:
        self.span(0.0, 1.0)
        self._stretch = bool(image)
        self._transforms = [*_make(joint, "joint"), *_make(image, "image")]
        self._pipelines: dict[int, Any] = {}

    def span(self, low: float, high: float) -> None:
        """Set the lowest and highest value of float images.

        Transforms that change values are made for 0 to 1, which a 12-bit camera in 16-bit files does not nearly fill:
        they see the images stretched from this span to 0 to 1, and the result is brought back.
        """
        self.low, self.range = np.float32(low), np.float32(high - low or 1.0)

    def __call__(self, images: Sequence[Array], maps: Sequence[Array], seed: int) -> tuple[list[Array], list[Array]]:
        """Return the transformed images and maps.

        Args:
            images: each H x W x C, ``uint8``, or ``float32`` within the span (values beyond it may be cut off).
            maps: each H x W, ``float32``, NaN where unknown; so is what a transform fills in beyond the border.
            seed: 0..2^32-1; the same seed gives the same result, whatever was transformed before.

        Raises:
            ConfigError: a transform changed the size of the images.
        """
        if not self._transforms:
            return list(images), list(maps)
        pipeline = self._pipeline(len(images))
        pipeline.set_random_seed(seed)
        given: dict[str, Any] = {_name(i): self._in(image) for i, image in enumerate(images)}
        if maps:
            # What a transform fills in is unknown; where it continues the image by reflection, maps go with it.
            given["masks"] = [*maps, np.ones(maps[0].shape, np.float32)]
        result = pipeline(**given)
        moved: list[Array] = []
        if maps:
            *moved, inside = (np.asarray(item, np.float32) for item in result["masks"])
            moved = [np.where(inside > 0, item, np.float32(np.nan)) for item in moved]
        done = [self._out(result[_name(i)], images[i].dtype) for i in range(len(images))]
        if done[0].shape != images[0].shape:
            (height, width), (found, across) = images[0].shape[:2], done[0].shape[:2]
            raise ConfigError(
                f"augment.joint: expected images to keep their size of {height} x {width}, found {found} x {across} "
                "after it; crop by data.fit=crop, or use transforms that give the size back (RandomSizedCrop)"
            )
        if done[0].dtype != images[0].dtype:
            raise ConfigError(
                f"augment.image: expected values of the same type after it, {images[0].dtype}, found {done[0].dtype}; "
                "leave normalising and converting out, the model does it for every image"
            )
        return done, moved

    def _pipeline(self, count: int) -> Any:
        if count not in self._pipelines:
            import albumentations

            others = {_name(i): "image" for i in range(1, count)}
            self._pipelines[count] = albumentations.Compose(self._transforms, additional_targets=others)
        return self._pipelines[count]

    def _in(self, image: Array) -> Array:
        return (image - self.low) / self.range if self._stretch and image.dtype == np.float32 else image

    def _out(self, image: Array, dtype: Any) -> Array:
        if self._stretch and dtype == np.float32:
            image = image * self.range + self.low
        # albumentations drops a single channel's axis in some transforms.
        return image if image.ndim == 3 else image[:, :, None]


def _name(number: int) -> str:
    return "image" if number == 0 else f"image{number}"


def _make(entries: Sequence[Entry], part: str) -> list[Any]:
    if not entries:
        return []
    import albumentations

    made = []
    for entry in entries:
        if "one_of" in entry:
            made.append(albumentations.OneOf(_make(entry["one_of"], part), p=entry["p"]))
            continue
        arguments = {str(key): value for key, value in entry.items()}
        name = arguments.pop("transform")
        with warnings.catch_warnings():
            # albumentations only warns of arguments it does not know, and then ignores them.
            warnings.simplefilter("error", UserWarning)
            try:
                transform = getattr(albumentations, name)(**arguments)
            except (AttributeError, TypeError, ValueError, UserWarning) as error:
                raise ConfigError(f"augment: {name}({arguments}) cannot be made: {error}") from error
        if part == "image" and not isinstance(transform, albumentations.ImageOnlyTransform):
            raise ConfigError(f"augment.image: {name} moves pixels, so maps must follow it; write it in augment.joint")
        made.append(transform)
    return made
