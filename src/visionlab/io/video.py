"""Series in video files, decoded one frame after the other by OpenCV (FFmpeg).

FFmpeg hides damage within a frame as players want it; what is missing at the end is refused.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock

import cv2

from visionlab.errors import DataError
from visionlab.io.pixels import Image, check_size, to_channels
from visionlab.io.volume import UNKNOWN_VOXEL, Volume

_NEARLY_GRAY = 4  # levels of 255 by which codecs let the channels of gray differ
_COLOURED = 32
_KEPT = 8  # frames, since threads ask for neighbours in any order


def is_video(start: bytes) -> bool:
    """Return whether a file that begins so is MP4 or MOV, AVI, or Matroska (MKV, WebM)."""
    boxes = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
    return start[4:8] in boxes or (start[:4] == b"RIFF" and start[8:12] == b"AVI ") or start[:4] == b"\x1aE\xdf\xa3"


def open_video(path: Path) -> Volume:
    """Return what a video holds, TYX or TYXC of uint8; see :func:`visionlab.io.formats.open_volume`.

    It is gray if its first, middle and last frame are. The interval stays unknown: a video says how fast it is played,
    not how it was taken.
    """
    capture = _capture(path)
    width, height = (int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    check_size(height, width, 3, path)
    layout = int(capture.get(cv2.CAP_PROP_CODEC_PIXEL_FORMAT))
    # The names of deeper formats hold their depth as a number: last, or first if the high byte of a value is.
    if {layout & 255, layout >> 24 & 255} & {9, 10, 12, 14, 16}:
        raise DataError(f"{path}: a video of more than 8 bits a value, which would be cut; save it as a TIFF stack")
    frames = _count(capture, path)
    spreads = []
    for index in sorted({0, frames // 2, frames - 1}):
        capture.set(cv2.CAP_PROP_POS_FRAMES, index)
        done, image = capture.read()
        if not done:
            raise _cut(path, index, frames)
        spreads.append(_spread(image))
    gray = max(spreads) <= _NEARLY_GRAY
    axes, shape = ("TYX", (frames, height, width)) if gray else ("TYXC", (frames, height, width, 3))
    read = partial(_read, path, frames, gray)
    return Volume(path, axes, shape, "uint8", UNKNOWN_VOXEL, None, "video", read, "uint8", "video")


def _read(path: Path, frames: int, gray: bool, index: int) -> Image:
    state = path.stat()
    image = _reader(path, state.st_size, state.st_mtime_ns, os.getpid()).frame(index, frames)
    if not gray:
        return image
    if _spread(image) > _COLOURED:
        raise DataError(f"{path}: frame {index} has colours, others are gray; convert it to gray or to TIFF")
    return to_channels(image, 1, path)


class _Reader:
    """A video that is open, and where it stands: in sequence fast, other frames by decoding from the start.

    Seeking is not exact.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._capture = _capture(path)
        self._next = 0
        self._kept: OrderedDict[int, Image] = OrderedDict()

    def frame(self, index: int, frames: int) -> Image:
        """Return a frame, H x W x 3, RGB; raise ``DataError`` if the video ends before it."""
        with self._lock:
            if index not in self._kept:
                if index < self._next:
                    self._capture, self._next = _capture(self._path), 0
                while self._next < index and self._capture.grab():
                    self._next += 1
                if self._next < index:  # what is read after a grab that failed would be another frame
                    raise _cut(self._path, self._next, frames)
                done, image = self._capture.read()
                if not done:
                    raise _cut(self._path, self._next, frames)
                self._next = index + 1
                self._kept[index] = image[..., ::-1]
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            return self._kept[index].copy()


@lru_cache(maxsize=2)
def _reader(path: Path, size: int, changed: int, process: int) -> _Reader:
    """Return a reader for a file in this state; a forked process must not share the position in it."""
    return _Reader(path)


def _capture(path: Path) -> cv2.VideoCapture:
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what matters is said by our own message
    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(0)
    try:
        # Absolute, so that FFmpeg takes it for no protocol; without threads, which do not survive a fork.
        capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    finally:
        cv2.utils.logging.setLogLevel(before)
    if not capture.isOpened():
        raise DataError(
            f"{path}: cannot be decoded: a truncated or damaged video, or of an unknown codec; copy it again or save it"
            " as a TIFF stack"
        )
    return capture


def _count(capture: cv2.VideoCapture, path: Path) -> int:
    """Return how many frames can be decoded: as many as claimed, or more where the file only estimates."""
    claimed = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
    if claimed and capture.set(cv2.CAP_PROP_POS_FRAMES, claimed - 1) and capture.grab() and not capture.grab():
        return claimed
    capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
    frames = 0
    while capture.grab():
        frames += 1
    if not frames or frames < claimed:
        raise _cut(path, frames, claimed)
    return frames


def _cut(path: Path, frames: int, claimed: int) -> DataError:
    return DataError(
        f"{path}: truncated video, or one of variable rate: {claimed} frames are claimed, {frames} can be decoded; copy"
        " it again or save it as a TIFF stack"
    )


def _spread(image: Image) -> int:
    """Return the largest difference between the channels of a pixel."""
    return int((image.max(axis=2) - image.min(axis=2)).max())
