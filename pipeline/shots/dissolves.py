"""Dissolves: where one scene of a film is blended into the next."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]

DISSOLVE_HALF_WIDTHS = (3, 4, 6, 8, 11, 15, 20, 26)
"""Dissolves are looked for between frames this far before and after their middle: of up to about 50 frames."""

THUMBNAIL_PIXELS = 2304
"""Pixels of the grey thumbnails in which dissolves are looked for: 64×36 of a wide film."""

_VELOCITY_FRAMES = 3


@dataclass(frozen=True)
class _Blend:
    """What the frames between two ends look like when they are explained as a mixture of the ends."""

    middle: float
    """Time at which both ends weigh alike, in frames, not whole."""

    frame_count: float
    """How long the weight takes from one end to the other, in frames."""

    gain: float
    """How much more of the middle frame the two ends explain than the better of them, as a share of its variance."""


class DissolveFinder:
    """Finds dissolves in grey thumbnails that are fed one by one, of which the newest `memory` are kept.

    A frame of a dissolve is (1 - w) times a frame of the old scene plus w times one of the new, and w grows evenly.
    As two scenes have nothing to do with each other, the deviation of the mixture dips to as little as 0.71 of
    theirs (the "production model" of Hampapur, Jain and Weymouth 1994, and the parabola of variance of Alattar
    1993). The dip is cheap, and says where to look. Focus, motion blur and objects near the camera make
    dips too, so the mixture is then verified: both ends are carried to the frames between them by an affine motion
    (ECC of Evangelidis and Psarakis 2008, which is blind to contrast), and the frames are written as weighted sums
    of the two. In a dissolve, both are needed, and their weights cross over steadily and alike in all parts of the
    picture. Any motion within one scene fails this: what was followed rightly needs one end only, and what was
    not is explained by neither. Deviations are of the band between about 1 and 6 pixels of the thumbnail, so
    that neither a change of light nor the common gradient from sky to ground counts as likeness.
    """

    MIN_DEVIATION = 3.0
    """The least deviation of the thumbnails at both ends, in levels: in fog and in the dark nothing is verified."""

    DIP = (0.55, 0.9)
    """Deviation at the middle as a share of the mean at the ends. Lower than in theory, it is no dissolve: a fade."""

    MIN_EXPLAINED = 0.8
    """The least share of the variance of frames between the ends that the two together explain."""

    MIN_GAIN = 0.2
    """The least share of the variance at the middle that two ends explain beyond what the better of them does."""

    MAX_LIKENESS = 0.4
    """The greatest correlation of the two ends, carried to the middle: one scene in two lights is above it."""

    MIN_STEADINESS = 0.9
    """The least correlation, after alignment, of the ends with what lies 3 frames beyond them. Fire is below it."""

    MIN_OVERLAP = 0.2
    """The least share of the picture that both ends still cover, carried to a frame between them."""

    WEIGHT_TOLERANCE = 0.13
    """How far the weights stray from an even crossover at most."""

    MAX_SAMPLES = 15
    """Of the frames between two ends, at most this many are looked at."""

    def __init__(self) -> None:
        reach = DISSOLVE_HALF_WIDTHS[-1]
        self.memory = 2 * (reach + _VELOCITY_FRAMES) + 1
        self._ring: deque[Floats] = deque(maxlen=self.memory)
        self._deviations: deque[float] = deque(maxlen=self.memory)
        self._count = 0
        self._blends: list[_Blend] = []

    def __len__(self) -> int:
        """Thumbnails in memory."""
        return len(self._ring)

    def feed(self, thumbnail: Floats) -> None:
        """Takes the next frame, `H×W`, 0 to 255; they are counted from 0."""
        import cv2

        structure = cv2.GaussianBlur(thumbnail, (0, 0), 1.0) - cv2.GaussianBlur(thumbnail, (0, 0), 6.0)
        self._ring.append(structure)
        self._deviations.append(float(np.sqrt(np.mean(structure * structure))))
        self._count += 1
        newest = len(self._ring) - 1 - _VELOCITY_FRAMES
        for half in DISSOLVE_HALF_WIDTHS:
            if newest - 2 * half >= _VELOCITY_FRAMES and self._dips(newest - half, half):
                blend = self._verify(newest - 2 * half, newest)
                if blend is not None:
                    self._blends.append(blend)

    def finish(self) -> list[tuple[int, int, int]]:
        """The dissolves, ascending: first frame in which the new scene leads, first and last frame of the mixture."""
        kept: list[_Blend] = []
        for blend in sorted(self._blends, key=lambda blend: -blend.gain):
            reach = max(blend.frame_count, 8.0)
            if all(abs(blend.middle - other.middle) > (reach + max(other.frame_count, 8.0)) / 2 for other in kept):
                kept.append(blend)
        found = []
        for blend in sorted(kept, key=lambda blend: blend.middle):
            index = int(np.ceil(blend.middle - 1e-3))
            first = int(np.floor(blend.middle - blend.frame_count / 2)) + 1
            last = int(np.ceil(blend.middle + blend.frame_count / 2)) - 1
            found.append((index, max(0, min(first, index)), max(index, min(last, self._count - 1))))
        return found

    def _dips(self, position: int, half: int) -> bool:
        before, middle, after = (self._deviations[position + offset] for offset in (-half, 0, half))
        if min(before, after) < self.MIN_DEVIATION:
            return False
        low, high = self.DIP
        return low <= 2 * middle / (before + after) <= high

    def _verify(self, first: int, last: int) -> _Blend | None:
        """The frames between positions `first` and `last` of the ring as a mixture of these two, if they are one."""
        half = (last - first) // 2
        step = max(1, round(2 * half / (self.MAX_SAMPLES + 1)))
        positions = [position for position in range(first + 1, last) if (position - first - half) % step == 0]
        old = self._carried(first, -1, positions, half)
        if not old:
            return None
        # Most windows hold one scene: its first frame alone explains the middle, and the dearer half is saved.
        a, seen = old[positions.index(first + half)]
        if seen.mean() < self.MIN_OVERLAP:
            return None
        if _correlation(a[seen], self._ring[first + half][seen]) ** 2 > 1 - self.MIN_GAIN:
            return None
        new = self._carried(last, 1, positions[::-1], half)[::-1]
        if not new:
            return None
        weights, explained = [], []
        middle: tuple[float, float] | None = None
        for position, (a, a_seen), (b, b_seen) in zip(positions, old, new, strict=True):
            seen = a_seen & b_seen
            if seen.mean() < self.MIN_OVERLAP:
                return None
            share, alpha, beta = _mixture(self._ring[position][seen], a[seen], b[seen])
            total = alpha + beta
            if not 0.7 <= total <= 1.3 or min(alpha, beta) < -0.15:
                return None
            weights.append(beta / total)
            explained.append(share)
            if position == first + half:
                if not self._crosses(self._ring[position], a, b, seen):
                    return None
                single = max(_correlation(self._ring[position][seen], end[seen]) ** 2 for end in (a, b))
                # Of equal contrast everywhere, or a shadow that wanders over one scene would make two of it.
                likeness = abs(_correlation(_even(a)[seen], _even(b)[seen]))
                middle = single, share
                if share - single < self.MIN_GAIN or likeness > self.MAX_LIKENESS:
                    return None
        if middle is None or np.median(explained) < self.MIN_EXPLAINED:
            return None
        ramp = _ramp(np.array(positions, float), np.array(weights))
        if ramp is None or ramp[2] > self.WEIGHT_TOLERANCE:
            return None
        at, frame_count, _ = ramp
        if abs(at - first - half) > half / 2:
            return None
        oldest = self._count - len(self._ring)
        return _Blend(oldest + at, frame_count, middle[1] - middle[0])

    def _crosses(self, frame: Floats, a: Floats, b: Floats, seen: NDArray[np.bool_]) -> bool:
        """Whether both ends show in every quarter of the middle frame. An object that passes covers part of it."""
        height, width = frame.shape
        for rows in (slice(0, height // 2), slice(height // 2, None)):
            for columns in (slice(0, width // 2), slice(width // 2, None)):
                part = seen[rows, columns]
                if part.mean() < 0.2:
                    continue
                y, one, other = (image[rows, columns][part] for image in (frame, a, b))
                if min(float(np.sqrt(np.mean(end * end))) for end in (one, other)) < self.MIN_DEVIATION:
                    continue
                _, alpha, beta = _mixture(y, one, other)
                if not 0.2 <= beta / max(alpha + beta, 1e-6) <= 0.8:
                    return False
        return True

    def _carried(
        self, end: int, away: int, positions: Sequence[int], half: int
    ) -> list[tuple[Floats, NDArray[np.bool_]]]:
        """The frame at the position `end` as it would be seen at `positions`, nearest first, and where it is known.

        Its motion is measured towards `away`, outside the mixture, and followed into it as far as the middle, where
        the other end begins to lead; from there on it is taken to go on as it was. Nothing, where the frames outside
        are not steady.
        """
        source = self._ring[end]
        identity = np.eye(2, 3, dtype=np.float32)
        outside = self._ring[end + away * _VELOCITY_FRAMES]
        transform = _aligned(source, outside, identity)
        seen_outside, known = _warped(outside, transform)
        if known.mean() < self.MIN_OVERLAP or _correlation(source[known], seen_outside[known]) < self.MIN_STEADINESS:
            return []
        motion = (transform - identity) / np.float32(_VELOCITY_FRAMES)
        carried = []
        refine_every = max(1, half // 4)
        refined = 0
        for position in positions:
            distance = abs(position - end)
            transform = identity + motion * np.float32(distance)
            if distance <= half and (distance - refined >= refine_every or distance == half):
                transform = _aligned(self._ring[position], source, transform)
                motion = (transform - identity) / np.float32(distance)
                refined = distance
            carried.append(_warped(source, transform))
        return carried


def _aligned(target: Floats, image: Floats, guess: Floats) -> Floats:
    """The affine from the pixels of `target` to those of `image` that correlates them best, near a `guess`."""
    import cv2

    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-4)
    try:
        everywhere = np.ones(image.shape, np.uint8)
        _, found = cv2.findTransformECC(target, image, guess.copy(), cv2.MOTION_AFFINE, criteria, everywhere, 3)
    except cv2.error:
        return guess
    transform = np.asarray(found, np.float32)
    return transform if bool(np.isfinite(transform).all()) else guess


def _warped(image: Floats, transform: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """The image seen through the affine `transform` into it, and where it is known there."""
    import cv2

    size, flags = image.shape[::-1], cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    known = cv2.warpAffine(np.ones_like(image), transform, size, flags=flags)
    return np.asarray(cv2.warpAffine(image, transform, size, flags=flags), np.float32), np.asarray(known) > 0.99


def _even(image: Floats) -> Floats:
    """The image with a deviation of about 1 everywhere; what is almost flat is left so."""
    import cv2

    deviation = np.sqrt(cv2.GaussianBlur(image * image, (0, 0), 3.0))
    return np.asarray(image / (deviation + 1.0), np.float32)


def _mixture(y: Floats, a: Floats, b: Floats) -> tuple[float, float, float]:
    """Least squares of `y` = alpha `a` + beta `b`: share of the square of `y` that is explained, alpha and beta."""
    aa, bb, ab, ay, by, yy = (float(np.dot(p, q)) for p, q in ((a, a), (b, b), (a, b), (a, y), (b, y), (y, y)))
    determinant = aa * bb - ab * ab
    if determinant <= 1e-6 * aa * bb or yy <= 0:
        return 0.0, 0.0, 0.0
    alpha, beta = (ay * bb - by * ab) / determinant, (by * aa - ay * ab) / determinant
    return (alpha * ay + beta * by) / yy, alpha, beta


def _correlation(a: Floats, b: Floats) -> float:
    scale = float(np.sqrt(np.dot(a, a) * np.dot(b, b)))
    return float(np.dot(a, b)) / scale if scale > 0 else 1.0


def _ramp(times: NDArray[np.float64], weights: NDArray[np.float64]) -> tuple[float, float, float] | None:
    """The even rise from 0 to 1 nearest to `weights`: time of its middle, its length and the largest error."""
    rising = np.flatnonzero((weights > 0.12) & (weights < 0.88))
    if rising.size < 3 or np.any(np.diff(rising) != 1):
        return None
    slope, offset = np.polyfit(times[rising], weights[rising], 1)
    if slope <= 0:
        return None
    error = np.abs(np.clip(slope * times + offset, 0.0, 1.0) - weights)
    return float((0.5 - offset) / slope), float(1 / slope), float(error.max())


def thumbnail(image: np.ndarray) -> Floats:
    """The grey picture, reduced to about `THUMBNAIL_PIXELS`; a smaller one keeps its size."""
    import cv2

    height, width = image.shape[:2]
    scale = min(1.0, (THUMBNAIL_PIXELS / (height * width)) ** 0.5)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    reduced = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
    return np.asarray(reduced, np.float32)
