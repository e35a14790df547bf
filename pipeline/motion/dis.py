"""Optical flow between two content frames: estimated (`DisFlow`, `RaftFlow`) or read from files (`FloFolder`).

Convention
    Flow a → b is `H×W×2` float32, (dx, dy) in pixels, on the grid of `a`: what is at `x` in `a` is at
    `x + flow` in `b`. dx counts to the right, dy downwards; pixels are those of the grid itself, so
    a flow that is brought to another size has its vectors scaled too, each axis by its own factor
    (`resize_flow`). Frames are `H×W×3` uint8 RGB; sizes are (height, width). OpenCV's channel
    orders and its (x, y) sizes do not leave the function that calls it.
"""

import contextlib
import threading
from collections.abc import Iterator

import cv2
import numpy as np

from ..pictures import Size, size_of
from .flow import require_frames, resample_flow, resize_flow, working_size
from .flow_fit import consistent_pixels, refit_flow
from .flow_matching import LEAST_MATCHES, equalize, interpolate_matches, match_features
from .flow_refinement import dilate, propagate_flow

_LEAST_SIDE = 32
"""Frames with a shorter side are padded to it: DIS works in patches of 8 pixels on a pyramid."""

_FAST, _EXACT = cv2.DISOPTICAL_FLOW_PRESET_FAST, cv2.DISOPTICAL_FLOW_PRESET_MEDIUM

_EASY = 0.99
"""Where plain DIS agrees with itself, forward and backward, about so much of both frames, nothing is gained by a start
from matches."""

_one_thread_lock = threading.Lock()


# Estimated without weights


class DisFlow:
    """Dense inverse search (Kroeger et al. 2016, OpenCV) that is told of large motion by SIFT matches.

    DIS alone goes from coarse to fine and loses whatever moves farther than its own size. Here, as in
    Brox and Malik (2011), matches of features start it, wherever plain DIS contradicts itself when it is
    asked for the way back:

    1. SIFT features (Lowe 2004) of both frames, mutual nearest neighbours that pass the ratio test and
       agree with matches next to them. A second, guided match looks only where the first ones point,
       where a weaker ratio is enough, and finds a third more in dark and fast scenes.
    2. Affine maps fitted locally and robustly to the matches give a first flow, in both directions
       (after the interpolation of EpicFlow, Revaud et al. 2015, with distance in the plane in place of
       its edges).
    3. DIS from it, to half the working size. Where forward and backward flow disagree (Sundaram et al.
       2010), the flow is fitted anew to those around that agree.
    4. DIS again from there, to the full working size.
    5. DIS moves whole patches, and the border of a moving thing with what is behind it. Around whatever
       forward and backward flow disagree about, each pixel takes the flow of one near it where that makes
       its window look more alike in the other frame (propagation, PatchMatch, Barnes et al. 2009). A pixel of
       the window counts as much as its colour is that of the one in the middle, so that a window on a
       border compares one side of it (adaptive support weights, Yoon and Kweon 2006): of what is hidden in
       cave_2 both directions agree about 9.9 % by it, and 10.9 % with equal weights.

    Where plain DIS agrees with itself nearly everywhere, step 5 follows at once.

    What forward and backward flow disagree about in the end is left as it is. To fit it anew there too
    would bring the mean error down, but both directions would then agree on guesses: on market_5 they would
    about 72 % of what is hidden, not 29 %. A painting that follows the fit while the mask does not (0.90 px of
    error on market_5, not 1.28) is no gain either: E × 1000 was 8.99 and not 9.13 there, and 4.48 and not 4.31
    on ambush_4, at 1.02 and 1.01 of the objective. DIS goes where the colours are those of the frame, and
    strokes that come from there are less work.

    SIFT and the first DIS see each frame with its local contrast equalised. The last one sees the plain
    grey values: the equalisation differs from frame to frame, which costs sub-pixel precision (0.08 in
    place of 0.05 px on a slow rotation).

    Measured on Sintel's market_5 (motion of 27 px in the median and 133 at most) and cave_2 (15, 46), with
    a painting of 256×109, on what both frames show: error mean / median in its pixels, share beyond one pixel,
    and time by that of DIS with the preset MEDIUM. DIS alone sees grey frames of the painting's size::

        preset     finest scale  market_5            cave_2               time
        ULTRAFAST  0             4.26 / 1.16 / 52 %  0.40 / 0.14 / 9 %    0.4
        FAST       0             4.43 / 1.09 / 51 %  0.37 / 0.11 / 8 %    0.7
        FAST       1             4.58 / 1.84 / 59 %  0.60 / 0.29 / 15 %   0.2
        MEDIUM     0             5.42 / 1.26 / 52 %  0.33 / 0.11 / 8 %    1
        MEDIUM     1             5.64 / 2.14 / 60 %  0.57 / 0.29 / 14 %   0.3
        DisFlow                  1.28 / 0.17 / 24 %  0.13 / 0.04 / 2 %    40

    The same frames give the same bits whatever ran before: OpenCV's DIS divides its work by the number
    of threads and differs by it, so it has one thread here, and calls from several threads take turns.
    """

    def __call__(self, a: np.ndarray, b: np.ndarray, size: Size) -> np.ndarray:
        """Flow a → b, `H×W×2` float32 in pixels of `size`."""
        return self.pair(a, b, size)[0]

    def pair(self, a: np.ndarray, b: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray]:
        """Flow a → b and flow b → a (see `FlowEstimator`); either direction takes the other to be checked by."""
        require_frames(a, b)
        work = working_size(size_of(a), size)
        with _one_thread():
            forward, backward = _sharp_dis(*(_padded(resample_flow(frame, work)) for frame in (a, b)))
            forward, backward = (flow[: work[0], : work[1]] for flow in (forward, backward))
            return resize_flow(forward, size), resize_flow(backward, size)


def plain_dis(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Flow a → b by DIS alone at the frames' own size: quick, and right where little moves."""
    require_frames(a, b)
    with _one_thread():
        greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (a, b)]
        grey_a, grey_b = (_padded(grey) for grey in greys)
        flow = _dis(grey_a, grey_b, None, cv2.DISOPTICAL_FLOW_PRESET_MEDIUM, finest_scale=0)
        return np.ascontiguousarray(flow[: a.shape[0], : a.shape[1]])


def _padded(frame: np.ndarray) -> np.ndarray:
    below, right = (max(0, _LEAST_SIDE - side) for side in frame.shape[:2])
    if not (below or right):
        return frame
    return np.asarray(cv2.copyMakeBorder(frame, 0, below, 0, right, cv2.BORDER_REPLICATE))


def _sharp_dis(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flow a → b and b → a of two `H×W×3` uint8 frames at their own size, as `DisFlow` describes."""
    grey_a, grey_b = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (a, b))
    forward = _dis(grey_a, grey_b, None, _EXACT, finest_scale=0)
    backward = _dis(grey_b, grey_a, None, _EXACT, finest_scale=0)
    confirmed = consistent_pixels(forward, backward), consistent_pixels(backward, forward)
    if any(pixels.mean() < _EASY for pixels in confirmed):
        forward, backward = _seeded_dis(grey_a, grey_b)
        confirmed = consistent_pixels(forward, backward), consistent_pixels(backward, forward)
    if all(pixels.all() for pixels in confirmed):
        return forward, backward
    lab_a, lab_b = (cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for frame in (a, b))
    return (
        propagate_flow(forward, lab_a, lab_b, dilate(~confirmed[0])),
        propagate_flow(backward, lab_b, lab_a, dilate(~confirmed[1])),
    )


def _seeded_dis(grey_a: np.ndarray, grey_b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flow a → b and b → a by DIS that SIFT matches start: steps 1 to 4 of `DisFlow`."""
    equal_a, equal_b = equalize(grey_a), equalize(grey_b)
    points_a, points_b = match_features(grey_a, grey_b)
    first: list[np.ndarray | None] = [None, None]
    if len(points_a) >= LEAST_MATCHES:
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
    """DIS from a first flow, or from nothing.

    With a first flow it begins at half the size, where OpenCV takes it over: from coarser scales on
    it would lose again the large motion of small things that the first flow knows.
    """
    dis = cv2.DISOpticalFlow.create(preset)
    dis.setFinestScale(finest_scale)
    if start is None:
        return np.asarray(dis.calc(a, b, None))  # type: ignore[call-overload]
    dis.setCoarsestScale(1)
    # A copy, as OpenCV writes its result into the array that it is given to start from.
    return np.asarray(dis.calc(a, b, start.copy()))


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """OpenCV with one thread, and with as many as before afterwards; one caller at a time, as the number is global."""
    with _one_thread_lock:
        before = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            yield
        except cv2.error as error:
            # Mostly memory that is not there, which torch reports like this.
            raise RuntimeError(f"OpenCV: {error}") from error
        finally:
            cv2.setNumThreads(before)
