"""The objective of finished pictures, whichever tool made them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pipeline import images, media
from pipeline.config import Settings
from pipeline.encoder import load_weights
from pipeline.errors import InputError
from pipeline.events import Losses
from pipeline.frames import Size, resize
from pipeline.stylize import Painter, style_blend


@dataclass(frozen=True)
class Measured:
    """Weighted losses of one finished picture."""

    index: int
    name: str
    size: Size
    losses: Losses


def measure(
    result: Path,
    content: Path,
    styles: Sequence[Path],
    settings: Settings,
    style_weights: Sequence[float] = (),
    device: torch.device | str = "cpu",
) -> Iterator[Measured]:
    """Losses of each picture of `result`, with the weights and layers of `settings`.

    `result` and `content` are both images, or each a folder of images or a video. Folders are paired by
    the paths below them, where need be without their endings; anything with a video by order. The content is resized to
    the result's size, as it was when it was painted.
    Raises `InputError` when a result has no content to go with it, or a video has frames left over.
    """
    for path in (result, content):
        if not path.exists():
            raise InputError(f"{path} does not exist: check the name")
    if result.is_dir() != content.is_dir() and not (media.is_video_name(result) or media.is_video_name(content)):
        raise InputError(f"{result} and {content} do not go together: give two images, or two of folder and video")
    blend = style_blend(style_weights, len(styles))
    pictures = [images.read_image(path) for path in styles]
    painter = Painter(settings, load_weights(settings.encoder.weights), pictures, blend, torch.device(device))
    for index, (name, picture, original) in enumerate(_pairs(result, content)):
        size = (picture.shape[0], picture.shape[1])
        yield Measured(index, name, size, painter.measure(picture, resize(original, size)))


def _pairs(result: Path, content: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    if result.is_dir() and content.is_dir():
        named = {path.relative_to(content): path for path in _images(content)}
        stems = {path.with_suffix(""): original for path, original in named.items()}
        for path in _images(result):
            relative = path.relative_to(result)
            original = named.get(relative) or stems.get(relative.with_suffix(""))
            if original is None:
                raise InputError(f"{path} has no picture of that name in {content}")
            yield relative.as_posix(), images.read_image(path), images.read_image(original)
        return
    finished, given = _pictures(result), _pictures(content)
    count = 0
    for count, (name, picture) in enumerate(finished, start=1):
        other = next(given, None)
        if other is None:
            raise InputError(f"{result} has more pictures than {content}, which ends after {count - 1}")
        yield name, picture, other[1]
    if next(given, None) is not None:
        raise InputError(f"{content} has more pictures than {result}, which ends after {count}")


def _pictures(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    if path.is_dir():
        for image in _images(path):
            yield image.relative_to(path).as_posix(), images.read_image(image)
    elif media.is_video_name(path):
        for frame in media.read_frames(path):
            yield f"frame {frame.index}", frame.image
    else:
        yield path.name, images.read_image(path)


def _images(folder: Path) -> list[Path]:
    paths = images.list_images(folder).paths
    if not paths:
        raise InputError(f"folder {folder} holds no image")
    return paths
