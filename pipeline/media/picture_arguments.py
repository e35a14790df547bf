"""Pictures handed over in memory: paths, PIL images and arrays, as `H×W×3` uint8 arrays in sRGB."""

import os
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image

from ..errors import InputError
from ..out_of_memory import raise_if_out_of_memory
from . import decoding
from .containers import is_video_name
from .image_color_tags import colors_of
from .image_colors import to_srgb
from .image_file import TRANSPOSE, exif_orientation
from .image_gamma import to_srgb_by_numbers

Picture: TypeAlias = str | os.PathLike[str] | Image.Image | np.ndarray
"""The path of an image file, a PIL image, or an `H×W×3` uint8 array in RGB order, sRGB."""

_FORMS = "give a path, a PIL image, or an H×W×3 uint8 array in RGB order"


def to_array(picture: Picture, name: str) -> np.ndarray:
    """The picture as an `H×W×3` uint8 array. `name` is what messages call it.

    A PIL image is treated as its file would be: EXIF orientation applied, ICC profile converted to sRGB, alpha
    dropped. Raises `InputError` for what is not a picture, for an unreadable file and for a video.
    """
    if isinstance(picture, np.ndarray):
        return _checked(picture, name)
    if isinstance(picture, Image.Image):
        return _pil_array(picture, name)
    if not isinstance(picture, str | os.PathLike):
        raise InputError(f"{name} is a {type(picture).__name__}: {_FORMS}")
    if not os.fspath(picture):
        raise InputError(f"{name} is an empty string: {_FORMS}")
    path = Path(picture)
    if is_video_name(path):
        raise InputError(f"{name} {path} is a video: paint it with stylize(), which writes files")
    return decoding.read_image(path)


def _checked(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype != np.uint8:
        raise InputError(
            f"{name} is an array of {array.dtype}: give uint8 from 0 to 255, for floats in [0, 1] as "
            "(255 * array).round().astype('uint8')"
        )
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        shape = "×".join(map(str, array.shape))
        raise InputError(f"{name} is an array of shape {shape or '()'}: give H×W×3 (RGB, without alpha)")
    return np.ascontiguousarray(array)


def _pil_array(image: Image.Image, name: str) -> np.ndarray:
    try:
        image.load()
        orientation = exif_orientation(image)
        upright = image.transpose(TRANSPOSE[orientation]) if orientation in TRANSPOSE else image
        profile, numbers = colors_of(image)
        array = _checked(np.asarray(to_srgb(upright, profile, Path(name))), name)
        return array if numbers is None else to_srgb_by_numbers(array, numbers)
    except InputError:
        raise
    except Exception as error:  # Pillow decodes only now, and decoders fail in many ways on damaged files.
        raise_if_out_of_memory(error)
        raise InputError(f"{name} is a PIL image that cannot be decoded ({error}): get the file again") from error
