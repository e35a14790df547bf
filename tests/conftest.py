"""What the tests share: small pictures and clips from the samples, the bundled weights, tiny settings."""

import collections
import dataclasses
import functools
import signal
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from PIL import Image

from impasto.paint import encoder_weights
from impasto.paint.encoder_weights import EncoderWeights, load_weights
from impasto.pictures import resize
from impasto.presets import load_settings
from impasto.settings import Settings
from tests.support import seeds

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "samples"
DATA = ROOT.parent / "shared" / "data"
"""Real frames and paintings; tests that use them skip where they are absent."""

TINY = (
    "size=64",
    "style.layers={relu1_1: 1, relu2_1: 1, relu3_1: 1}",
    "content.layers={relu3_1: 1}",
    "iterations={first: 4, next: 2}",
    "precision=fp32",
)
"""Overrides that make painting a matter of milliseconds and leave every part of it in place."""


def pytest_configure(config: pytest.Config) -> None:
    if seeds.SEED and config.getoption("hypothesis_seed", None) is None:
        hypothesis.core.global_force_seed = seeds.SEED
    hypothesis.settings.register_profile("impasto", print_blob=True)
    hypothesis.settings.load_profile("impasto")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the cases of a `sweep(n)` as slow, but for the first n of each test."""
    cases = collections.Counter[str]()
    for item in items:
        mark = item.get_closest_marker("sweep")
        if mark is None:
            continue
        test = item.nodeid.partition("[")[0]
        cases[test] += 1
        if cases[test] > mark.args[0]:
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and seeds.SEED:
        report.sections.append(("random seed", f"repeat it with {seeds.VARIABLE}={seeds.SEED}"))
    return report


@pytest.fixture(scope="session", autouse=True)
def _one_thread_is_plenty() -> None:
    """Pictures of 64 pixels are not worth more, and the machine may be busy."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _weights_are_made_once() -> Iterator[None]:
    """Of the bundled file, whose hash is checked each time: hundreds of jobs in one process load it."""
    make = encoder_weights._from_bundled_state
    made: dict[str, EncoderWeights] = {}

    @functools.wraps(make)
    def make_once(state: Mapping[str, Any], source: str, sha256: str) -> EncoderWeights:
        if sha256 != encoder_weights._BUNDLED_SHA256:
            return make(state, source, sha256)
        if sha256 not in made:
            made[sha256] = make(state, source, sha256)
        return dataclasses.replace(made[sha256], source=source)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(encoder_weights, "_from_bundled_state", make_once)
        yield


@pytest.fixture(autouse=True)
def _interrupts_are_heard() -> Iterator[None]:
    """A shell that starts the tests in the background has SIGINT ignored, for them and for all their children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def weights() -> EncoderWeights:
    """The bundled VGG-19."""
    return load_weights("bundled")


@pytest.fixture(scope="session")
def tiny_settings() -> Settings:
    return load_settings("default", TINY)


@pytest.fixture(scope="session")
def style_array() -> np.ndarray:
    """The sample painting, 48×60."""
    return resize(np.asarray(Image.open(SAMPLES / "style.png").convert("RGB")), (48, 60))


@pytest.fixture(scope="session")
def content_array() -> np.ndarray:
    """The sample landscape, 48×72."""
    return resize(np.asarray(Image.open(SAMPLES / "landscape.jpg").convert("RGB")), (48, 72))


@pytest.fixture
def style_file(tmp_path: Path, style_array: np.ndarray) -> Path:
    path = tmp_path / "style.png"
    Image.fromarray(style_array).save(path)
    return path


@pytest.fixture
def content_file(tmp_path: Path, content_array: np.ndarray) -> Path:
    path = tmp_path / "content.png"
    Image.fromarray(content_array).save(path)
    return path


@pytest.fixture
def need_data() -> Callable[[str], Path]:
    """`need_data("images/x.png")`: that file of the real data, or the test is skipped."""

    def find(name: str) -> Path:
        path = DATA / name
        if not path.exists():
            pytest.skip(f"real test data {name} is not at {DATA}")
        return path

    return find
