"""Series in video files."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.io.written import MOVIE, RNG, video
from visionlab.errors import DataError
from visionlab.io import open_volume, plane, read_image

COLOUR = RNG.integers(0, 256, (4, 48, 64, 3), dtype=np.uint8)


def test_frames_are_exact_in_any_order(tmp_path: Path) -> None:
    frames = np.concatenate([MOVIE + np.uint8(value) for value in (0, 5, 9, 20)])
    path = video(tmp_path / "a.mkv", "FFV1", frames)
    for index in (7, 3, 15, 0, 15, 15, 2):
        np.testing.assert_array_equal(read_image(plane(str(path), index)), frames[index, :, :, :1])
    with ThreadPoolExecutor(6) as pool:
        found = pool.map(lambda i: read_image(plane(str(path), i)), range(16))
        np.testing.assert_array_equal(np.stack(list(found)), frames[..., :1])
    colour = open_volume(video(tmp_path / "c.mkv", "FFV1", COLOUR))
    assert (colour.axes, colour.stains) == ("TYXC", ())
    np.testing.assert_array_equal(colour.frame(2)[0], COLOUR[2])


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "mp4v"), ("a.mov", "mp4v"), ("a.avi", "MJPG")])
def test_video_with_loss(tmp_path: Path, name: str, codec: str) -> None:
    smooth = np.stack([np.full((48, 64, 3), 20 * i + 30, np.uint8) for i in range(6)])
    volume = open_volume(video(tmp_path / name, codec, smooth))
    assert (volume.axes, volume.shape) == ("TYX", (6, 48, 64))
    means = [volume.frame(i).mean() for i in range(6)]
    np.testing.assert_allclose(means, smooth.mean((1, 2, 3)), atol=20)
    assert (np.diff(means) > 10).all()


def test_a_frame_that_is_passed_over_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = video(tmp_path / "a.mkv", "FFV1", MOVIE)
    volume = open_volume(path)
    opened, grabbed = cv2.VideoCapture, []

    class Failing:
        """Fails to grab its second frame, once."""

        def __init__(self, *args: Any) -> None:
            self.capture = opened(*args)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.capture, name)

        def grab(self) -> bool:
            grabbed.append(self.capture.grab())
            return len(grabbed) != 2

    monkeypatch.setattr(cv2, "VideoCapture", Failing)
    with pytest.raises(DataError, match="1 can be decoded"):
        volume.frame(3)


def test_video_that_turns_colourful_is_refused(tmp_path: Path) -> None:
    frames = np.concatenate([MOVIE, MOVIE[:2]])
    frames[1] = COLOUR[0]
    path = video(tmp_path / "a.mkv", "FFV1", frames)
    with pytest.raises(DataError, match="frame 1 has colours"):
        read_image(plane(str(path), 1))


def test_video_of_more_than_8_bits_is_refused(tmp_path: Path) -> None:
    params = [cv2.VIDEOWRITER_PROP_DEPTH, cv2.CV_16U, cv2.VIDEOWRITER_PROP_IS_COLOR, 0]
    codec = cv2.VideoWriter.fourcc(*"FFV1")
    writer = cv2.VideoWriter(str(tmp_path / "a.mkv"), cv2.CAP_FFMPEG, codec, 10, (64, 48), params)
    if not writer.isOpened():
        pytest.skip("OpenCV has no encoder for 16-bit video")
    writer.write(np.zeros((48, 64), np.uint16))
    writer.release()
    with pytest.raises(DataError, match="more than 8 bits"):
        open_volume(tmp_path / "a.mkv")
