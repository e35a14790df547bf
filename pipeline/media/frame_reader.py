"""Random access to the frames of the content."""

from collections.abc import Callable, Generator
from typing import Self

import numpy as np

from ..errors import InputError
from . import decoding
from .content import Content, ContentKind
from .frame_index import FrameIndex
from .video_info import VideoFrame

SEEK_MIN_FRAMES = 48
"""A frame so many frames ahead is reached by a seek to a key frame; starting another decoder costs about as much as
decoding so many."""


class FrameReader:
    """Reads frames of the content by index, cheapest in ascending order. A context manager.

    With the `frame_index` of a video, as `scan_film` gives it, reading begins near the frame that is asked for.
    """

    def __init__(
        self,
        content: Content,
        frame_index: FrameIndex | None = None,
        read_frames: Callable[..., Generator[VideoFrame, None, None]] = decoding.read_frames,
    ) -> None:
        self._content = content
        self._read_frames = read_frames
        self._frame_index = frame_index
        self._frames: Generator[VideoFrame, None, None] | None = None
        self._next_index = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Frame `index` of the content at its own size: H×W×3 uint8, and its alpha, H×W uint8, or None where all is
        opaque. Raises `InputError` when it cannot be read."""
        if self._content.kind is not ContentKind.VIDEO:
            return decoding.read_image_and_alpha(self._content.files[index].path)
        try:
            return self._read(index)
        except InputError:
            if self._frame_index is None:
                raise
            # The decoder may fail on what precedes a key frame; from the beginning it has decoded the whole file.
            self._frame_index = None
            self._close()
            return self._read(index)

    def _read(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        if self._frames is None or index < self._next_index or self._should_seek(index):
            self._close()
            # The scan of the content has reported damage.
            self._frames = self._read_frames(
                self._content.files[0].path,
                index,
                accept_damage=True,
                index=self._frame_index,
                stream=self._content.video_stream,
            )
        for frame in self._frames:
            if frame.index == index:
                self._next_index = index + 1
                return frame.image, frame.alpha
        raise InputError(f"frame {index} of {self._content.files[0].path} cannot be read any more")

    def _should_seek(self, index: int) -> bool:
        is_far = index - self._next_index >= SEEK_MIN_FRAMES
        return is_far and self._frame_index is not None and self._frame_index.key_before(index) > self._next_index

    def _close(self) -> None:
        if self._frames is not None:
            self._frames.close()
            self._frames = None
