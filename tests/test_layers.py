"""The layers of VGG-19 are those of the paper's table, and names and sizes that cannot work are refused."""

import pytest
import torch

from impasto.errors import InputError, SettingsError
from impasto.layers import CONVOLUTIONS, LAYERS, deepest, require_layer, require_size, smallest_side


def test_the_layers_are_those_of_configuration_e() -> None:
    # Simonyan and Zisserman 2015, table 1: sixteen convolutions in five blocks.
    assert len(CONVOLUTIONS) == 16
    assert len(LAYERS) == 16 * 2 + 5 and len(set(LAYERS)) == len(LAYERS)
    assert LAYERS[:5] == ("conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1")
    assert LAYERS[-3:] == ("conv5_4", "relu5_4", "pool5")
    assert [name for name in CONVOLUTIONS if name.startswith("conv3")] == ["conv3_1", "conv3_2", "conv3_3", "conv3_4"]


def test_the_order_is_that_of_torchvision() -> None:
    from torchvision.models import vgg19

    kinds = {"Conv2d": "conv", "ReLU": "relu", "MaxPool2d": "pool"}
    with torch.device("meta"):
        theirs = [kinds[type(module).__name__] for module in vgg19(weights=None).features]
    assert [name[:4] for name in LAYERS] == theirs


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (["relu1_1"], "relu1_1"),
        (["conv1_1", "relu1_1"], "relu1_1"),
        (["relu4_2", "relu1_1", "pool3"], "relu4_2"),
        (["relu4_2", "pool4", "conv4_4"], "pool4"),
    ],
)
def test_the_deepest_layer_is_the_farthest_from_the_input(layers: list[str], expected: str) -> None:
    assert deepest(layers) == expected
    assert deepest(reversed(layers)) == expected


@pytest.mark.parametrize(
    ("name", "hint"), [("relu4-2", "relu4_2"), ("conv4_22", "conv4_2"), ("Relu1_1", "relu1_1"), ("relu3_5", "relu3_")]
)
def test_an_unknown_layer_names_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}.*did you mean {hint}") as error:
        require_layer(name)
    assert "\n" not in str(error.value)


def test_a_layer_that_is_like_none_gets_no_hint() -> None:
    with pytest.raises(SettingsError, match=r"no layer 'mixed6'") as error:
        deepest(["relu1_1", "mixed6"])
    assert "did you mean" not in str(error.value)


@pytest.mark.parametrize(
    ("layer", "side"),
    [("relu1_2", 1), ("pool1", 2), ("conv2_1", 2), ("relu3_4", 4), ("relu4_2", 8), ("relu5_1", 16), ("pool5", 32)],
)
def test_each_pooling_halves_what_a_picture_may_be(layer: str, side: int) -> None:
    assert smallest_side([layer, "relu1_1"]) == side
    require_size((side, 1000), [layer], "the content")
    require_size((1000, side), [layer], "the content")
    if side > 1:
        with pytest.raises(InputError, match=rf"the content is 1000×{side - 1} pixels.*{side}×{side}"):
            require_size((side - 1, 1000), iter([layer]), "the content")
        with pytest.raises(InputError, match=rf"the style is {side - 1}×1000 pixels; layer {layer}"):
            require_size((1000, side - 1), [layer], "the style")
