"""Optical flow by DIS (Kroeger et al. 2016), started from SIFT matches and refined at motion boundaries."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np

from ..pictures import Size, size_of
from .consistency import consistent_pixels
from .flow import require_frames, resample, resize_flow, working_size
from .flow_fit import refit_flow
from .flow_matching import MIN_MATCHES, FeatureFinder, equalize, interpolate_matches, match_features
from .flow_refinement import dilate, propagate_flow

_MIN_SIDE = 32
"""Frames with a shorter side in pixels are padded to it: DIS works in patches of 8 pixels on a pyramid."""

_FAST, _EXACT = cv2.DISOPTICAL_FLOW_PRESET_FAST, cv2.DISOPTICAL_FLOW_PRESET_MEDIUM

_CONSISTENT_SHARE = 0.99
"""Where plain DIS is consistent in this share of both frames, a start from matches gains nothing."""

_one_thread_lock = threading.Lock()


class DisFlow:
    """Dense inverse search (Kroeger et al. 2016, OpenCV), started from SIFT matches where motion is large.

    DIS alone goes from coarse to fine and loses whatever moves farther than its own size. Where plain DIS is
    inconsistent forward and backward, matches of features start it, as in Brox and Malik (2011):

    1. SIFT features of both frames are matched (`flow_matching`).
    2. Affine maps, fitted locally and robustly to the matches (`flow_fit`), give a first flow in both directions.
    3. DIS refines it at half the working size. Where forward and backward flow are inconsistent (Sundaram et al. 2010),
       the flow is fitted anew to the consistent pixels around.
    4. DIS refines that at the full working size.
    5. DIS moves whole patches, and so the border of a moving object together with the background. Around inconsistent
       pixels each takes the flow of one near it where that lowers the matching cost of its window
       (`flow_refinement`). Forward and backward flow then agree falsely about 9.9 % of what is occluded in cave_2, and
       about 10.9 % where the windows' pixels have equal weights.

    Where plain DIS, which for this looks at a quarter of the working size, is consistent nearly everywhere, DIS at the
    full working size starts from nothing and step 5 follows.

    Pixels that are inconsistent in the end are left as they are. Fitting them too would lower the mean error, but both
    directions would then agree on guesses: on market_5 about 72 % of what is occluded, not 29 %. A painting that
    follows the fit while the mask does not (0.90 px of error on market_5, not 1.28) gains nothing: E × 1000 was 8.99
    and not 9.13 there, and 4.48 and not 4.31 on ambush_4, at 1.02 and 1.01 of the objective. DIS points to pixels of
    the colours of the frame, and strokes warped from there need fewer changes.

    SIFT and the first DIS see frames with their local contrast equalised. The last DIS sees plain grey values: the
    equalisation differs from frame to frame, which costs sub-pixel precision (0.08 instead of 0.05 px on a slow
    rotation).

    Measured on Sintel's market_5 (motion of 27 px in the median and 133 at most) and cave_2 (15, 46), with a painting
    of 256×109, on pixels visible in both frames: error mean / median in its pixels, share beyond one pixel, and time
    relative to DIS with the preset MEDIUM. DIS alone sees grey frames of the painting's size::

        preset     finest scale  market_5            cave_2               time
        ULTRAFAST  0             4.26 / 1.16 / 52 %  0.40 / 0.14 / 9 %    0.4
        FAST       0             4.43 / 1.09 / 51 %  0.37 / 0.11 / 8 %    0.7
        FAST       1             4.58 / 1.84 / 59 %  0.60 / 0.29 / 15 %   0.2
        MEDIUM     0             5.42 / 1.26 / 52 %  0.33 / 0.11 / 8 %    1
        MEDIUM     1             5.64 / 2.14 / 60 %  0.57 / 0.29 / 14 %   0.3
        DisFlow                  1.28 / 0.17 / 24 %  0.13 / 0.04 / 2 %    25

    The same frames give the same bits. OpenCV's DIS divides its work by the number of threads, and its result depends
    on it; so it runs in one thread here, and calls from several threads take turns.
    """

    def __init__(self) -> None:
        self._finder = FeatureFinder()

    def pair(self, a: np.ndarray, b: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray]:
        """Flow a → b and flow b → a (see `FlowEstimator`), each checked against the other."""
        require_frames(a, b)
        work = working_size(size_of(a), size)
        with _one_thread():
            work_a, work_b = (_padded(resample(frame, work)) for frame in (a, b))
            forward, backward = _refined_dis(work_a, work_b, self._finder)
            forward, backward = (flow[: work[0], : work[1]] for flow in (forward, backward))
            return resize_flow(forward, size), resize_flow(backward, size)


def plain_dis(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Flow a → b by DIS alone at the frames' own size, `H×W×2`: quick, and exact where motion is small."""
    require_frames(a, b)
    with _one_thread():
        greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (a, b)]
        grey_a, grey_b = (_padded(grey) for grey in greys)
        flow = _dis(grey_a, grey_b, None, cv2.DISOPTICAL_FLOW_PRESET_MEDIUM, finest_scale=0)
        return np.ascontiguousarray(flow[: a.shape[0], : a.shape[1]])


def estimators() -> dict[str, Callable[..., Any]]:
    """What a process that estimates flow can be asked for, by name: `pair` of a `DisFlow`, and `plain_dis`."""
    return {"pair": DisFlow().pair, "plain": plain_dis}


def _padded(frame: np.ndarray) -> np.ndarray:
    below, right = (max(0, _MIN_SIDE - side) for side in frame.shape[:2])
    if not (below or right):
        return frame
    return np.asarray(cv2.copyMakeBorder(frame, 0, below, 0, right, cv2.BORDER_REPLICATE))


def _refined_dis(a: np.ndarray, b: np.ndarray, finder: FeatureFinder) -> tuple[np.ndarray, np.ndarray]:
    """Flow a → b and b → a of two `H×W×3` uint8 frames at their own size: all steps of `DisFlow`."""
    grey_a, grey_b = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (a, b))
    if _is_consistent_nearly_everywhere(grey_a, grey_b):
        forward = _dis(grey_a, grey_b, None, _EXACT, finest_scale=0)
        backward = _dis(grey_b, grey_a, None, _EXACT, finest_scale=0)
    else:
        forward, backward = _dis_from_matches(grey_a, grey_b, finder)
    consistent = consistent_pixels(forward, backward), consistent_pixels(backward, forward)
    if all(pixels.all() for pixels in consistent):
        return forward, backward
    lab_a, lab_b = (cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for frame in (a, b))
    return (
        propagate_flow(forward, lab_a, lab_b, dilate(~consistent[0])),
        propagate_flow(backward, lab_b, lab_a, dilate(~consistent[1])),
    )


def _is_consistent_nearly_everywhere(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether plain DIS of two grey frames, forward and backward, is consistent in `_CONSISTENT_SHARE` of both.

    To a quarter of the frames' size, which takes a twentieth of the time and finds nearly the same share.
    """
    forward = _dis(a, b, None, _FAST, finest_scale=2)
    backward = _dis(b, a, None, _FAST, finest_scale=2)
    pairs = (forward, backward), (backward, forward)
    return all(bool(consistent_pixels(*flows).mean() >= _CONSISTENT_SHARE) for flows in pairs)


def _dis_from_matches(grey_a: np.ndarray, grey_b: np.ndarray, finder: FeatureFinder) -> tuple[np.ndarray, np.ndarray]:
    """Flow a → b and b → a of two grey frames by DIS started from SIFT matches: steps 1 to 4 of `DisFlow`."""
    equal_a, equal_b = equalize(grey_a), equalize(grey_b)
    points_a, points_b = match_features(grey_a, grey_b, finder)
    first: list[np.ndarray | None] = [None, None]
    if len(points_a) >= MIN_MATCHES:
        first = [
            interpolate_matches(points_a, points_b - points_a, size_of(grey_a)),
            interpolate_matches(points_b, points_a - points_b, size_of(grey_a)),
        ]
    forward = _dis(equal_a, equal_b, first[0], _FAST, finest_scale=1)
    backward = _dis(equal_b, equal_a, first[1], _FAST, finest_scale=1)
    forward, backward = refit_flow(forward, backward), refit_flow(backward, forward)
    return (
        _dis(grey_a, grey_b, forward, _EXACT, finest_scale=0),
        _dis(grey_b, grey_a, backward, _EXACT, finest_scale=0),
    )


def _dis(a: np.ndarray, b: np.ndarray, start: np.ndarray | None, preset: int, finest_scale: int) -> np.ndarray:
    """Flow a → b of two grey frames by DIS, from a first flow or from none.

    A first flow is taken over at half the size: from coarser scales on, DIS would lose the large motion of small
    objects that it holds.
    """
    dis = cv2.DISOpticalFlow.create(preset)
    dis.setFinestScale(finest_scale)
    if start is None:
        return np.asarray(dis.calc(a, b, None))  # type: ignore[call-overload]
    dis.setCoarsestScale(1)
    # OpenCV writes its result into the array that it starts from.
    return np.asarray(dis.calc(a, b, start.copy()))


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Runs OpenCV in one thread, then restores the count; one caller at a time, since the count is global."""
    with _one_thread_lock:
        before = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            yield
        except cv2.error as error:
            raise RuntimeError(f"OpenCV: {error}") from error
        finally:
            cv2.setNumThreads(before)
