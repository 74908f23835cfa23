"""Series in video files."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.volume_files import COLOUR, GRAY, check, video
from visionlab.errors import DataError
from visionlab.io import video as volume_video
from visionlab.io.volumes import open_volume, read_plane


@pytest.mark.parametrize("name", ["a.mkv", "a.avi"])
def test_video_without_loss_is_exact_in_any_order(tmp_path: Path, name: str) -> None:
    path = video(tmp_path / name, "FFV1", GRAY)
    volume = check(path, "TYX", GRAY[:, None, :, :, :1], "video")
    assert (volume.voxel, volume.interval) == ((None, None, None), None)
    for index in (7, 3, 29, 0, 15, 15, 2):
        np.testing.assert_array_equal(read_plane(path, index), GRAY[index, :, :, :1])
    with ThreadPoolExecutor(6) as pool:
        for plane, frame in zip(pool.map(lambda i: read_plane(path, i), range(30)), GRAY, strict=True):
            np.testing.assert_array_equal(plane, frame[..., :1])
    check(video(tmp_path / "c.mkv", "FFV1", COLOUR), "TYXC", COLOUR[:, None], "video")


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "mp4v"), ("a.mov", "mp4v"), ("a.avi", "MJPG")])
def test_video_with_loss(tmp_path: Path, name: str, codec: str) -> None:
    smooth = np.stack([np.full((48, 64, 3), 20 * i + 30, np.uint8) for i in range(6)])
    volume = open_volume(video(tmp_path / name, codec, smooth))
    assert (volume.axes, volume.shape) == ("TYX", (6, 48, 64))
    means = [volume.frame(i).mean() for i in range(6)]
    np.testing.assert_allclose(means, smooth.mean((1, 2, 3)), atol=20)
    assert (np.diff(means) > 10).all()


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "mp4v"), ("a.avi", "MJPG"), ("a.mkv", "FFV1")])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.85])
def test_truncated_video_is_refused(tmp_path: Path, name: str, codec: str, part: float) -> None:
    path = video(tmp_path / name, codec, GRAY[:8])
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(DataError, match=r"truncated"):
        open_volume(path)


def test_video_that_turns_colourful_is_refused(tmp_path: Path) -> None:
    frames = GRAY[:6].copy()
    frames[1] = COLOUR[0]
    path = video(tmp_path / "a.mkv", "FFV1", frames)
    with pytest.raises(DataError, match="frame 1 has colours"):
        read_plane(path, 1)


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


def test_a_forked_process_gets_a_reader_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = video(tmp_path / "a.mkv", "FFV1", GRAY[:4])
    read_plane(path, 2)
    opened = []
    capture = volume_video._capture

    def counted(path: Path) -> Any:
        opened.append(path)
        return capture(path)

    monkeypatch.setattr(volume_video, "_capture", counted)
    read_plane(path, 3)
    assert not opened
    monkeypatch.setattr("visionlab.io.video.os.getpid", lambda: -1)
    read_plane(path, 3)
    assert len(opened) == 1
