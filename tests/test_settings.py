"""Settings: presets, files, overrides, and the messages for all that is wrong in them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from impasto.errors import SettingsError
from impasto.presets import (
    PRESET_FOLDER,
    differences,
    fingerprint,
    flatten,
    load_settings,
    parse_settings,
    preset_names,
    to_values,
    to_yaml,
)
from impasto.setting_help import documented_fields
from impasto.settings import Settings

RUDER_LAYERS = {"relu1_1": 1, "relu2_1": 1, "relu3_1": 1, "relu4_1": 1, "relu5_1": 1}


def refused(*overrides: str, config: str = "default") -> str:
    """The one-line message with which `overrides` are refused."""
    with pytest.raises(SettingsError) as error:
        load_settings(config, overrides)
    message = str(error.value)
    assert message and "\n" not in message
    return message


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


# --- presets ----------------------------------------------------------------------------------------------------------


def test_the_presets_are_those_of_the_folder_with_the_default_first() -> None:
    names = preset_names()
    assert names[0] == "default" and names[1:] == sorted(names[1:])
    assert set(names) == {path.stem for path in PRESET_FOLDER.iterdir() if path.suffix == ".yaml"}
    assert set(names) >= {"default", "draft", "high", "d2l", "gatys2016", "ruder2016", "multipass"}


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_read_and_says_what_it_is_for(name: str) -> None:
    settings = load_settings(name)
    assert settings.description and "\n" not in settings.description
    assert settings.tuned_for in ("bundled", "torchvision")
    assert not settings.is_retuned, "a preset uses the weights that it was tuned for"
    # Round trips: through plain values, JSON and YAML.
    assert parse_settings(to_values(settings)) == settings
    assert parse_settings(json.loads(json.dumps(to_values(settings)))) == settings


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_printed_in_full_is_a_file_that_gives_it_back(name: str, tmp_path: Path) -> None:
    settings = load_settings(name)
    assert load_settings(write(tmp_path / "printed.yaml", to_yaml(settings))) == settings
    keys = [key for key, _ in flatten(yaml.safe_load(to_yaml(settings)))]
    assert {key for key, *_ in documented_fields() if not key.endswith(".layers")} <= set(keys)


def test_the_numbers_of_the_default() -> None:
    settings = load_settings("default")
    assert load_settings() == settings
    assert (settings.content.weight, settings.style.weight, settings.total_variation.weight) == (5, 100, 294)
    assert settings.style.layers == RUDER_LAYERS and settings.content.layers == {"relu4_2": 1}
    assert (settings.content.reduction, settings.style.gram) == ("mean", "chw")
    assert (settings.encoder.weights, settings.encoder.pooling) == ("bundled", "max")
    assert (settings.optimizer.method, settings.optimizer.variable) == ("lbfgs", "bounded")
    assert (settings.start.first, settings.start.next) == ("content", "warped")
    iterations = settings.iterations
    assert (iterations.first, iterations.next, iterations.target, iterations.floor) == (300, 60, 1.05, 1)
    assert (iterations.next_tolerance, iterations.next_interval) == (0.02, 10)
    assert (settings.temporal.weight, settings.temporal.distances) == (8000, (1,))
    assert (settings.flow.method, settings.flow.folder, settings.passes.count) == ("auto", None, 1)
    assert (settings.shots.detect, settings.shots.cuts) == (True, ())
    assert settings.layers == {*RUDER_LAYERS, "relu4_2"}


def test_the_defaults_of_the_fields_are_those_of_the_preset() -> None:
    """Each default stands once: a file without a base and the preset `default` mean the same."""
    description = load_settings("default").description
    assert (
        differences(to_values(parse_settings({"description": description})), to_values(load_settings("default"))) == []
    )


def test_the_numbers_of_ruder2016() -> None:
    """content 5, style 100, TV 1e-3; 2000 iterations for the first frame, 1000 for the next, 1e-4 over 50."""
    settings = load_settings("ruder2016")
    assert (settings.content.weight, settings.style.weight, settings.total_variation.weight) == (5, 100, 0.001)
    assert settings.style.layers == RUDER_LAYERS and settings.content.layers == {"relu4_2": 1}
    iterations = settings.iterations
    assert (iterations.first, iterations.next) == (2000, 1000)
    assert (iterations.tolerance, iterations.interval) == (1e-4, 50)
    assert (iterations.next_tolerance, iterations.next_interval) == (1e-4, 50)
    assert (iterations.target, settings.temporal.weight, settings.temporal.distances) == (None, 1000, (1,))
    assert (settings.start.first, settings.start.next) == ("noise", "warped")
    assert settings.optimizer.method == "lbfgs"


def test_the_numbers_of_multipass() -> None:
    """15 passes of 100 iterations, blended half and half, the temporal loss of weight 500 from the eighth pass on."""
    settings = load_settings("multipass")
    passes = settings.passes
    assert (passes.count, passes.iterations, passes.blend, passes.temporal_from) == (15, 100, 1, 8)
    assert (settings.temporal.weight, settings.temporal.distances) == (500, (1,))
    assert settings.iterations.target is None


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ("start.next=previous", "start.next = previous: in 15 passes"),
        ("temporal.distances=[1, 2]", "temporal.distances = 1, 2: in 15 passes"),
    ],
)
def test_what_several_passes_would_not_heed_is_refused(own: str, said: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(said)):
        load_settings("multipass", [own])
    load_settings("multipass", [own, "passes.count=1"])


def test_the_numbers_of_gatys2016() -> None:
    """α/β = 1e-3, w_l = 1/5, E_l with its ¼, average pooling, noise, no total variation."""
    settings = load_settings("gatys2016")
    assert settings.content.weight / settings.style.weight == pytest.approx(1e-3)
    assert settings.style.layers == dict.fromkeys(RUDER_LAYERS, 0.2 * 0.25)
    assert (settings.style.gram, settings.content.reduction) == ("hw", "half_sum")
    assert settings.encoder.pooling == "average" and settings.total_variation.weight == 0
    assert settings.start.first == settings.start.next == "noise" and not settings.shots.detect


def test_the_numbers_of_d2l() -> None:
    settings = load_settings("d2l")
    assert (settings.content.weight, settings.style.weight, settings.total_variation.weight) == (1, 1e4, 10)
    assert settings.content.layers == {"conv4_2": 1}
    assert settings.style.layers == {f"conv{block}_1": 1 for block in range(1, 6)}
    assert (settings.total_variation.form, settings.total_variation.pixels) == ("absolute_mean", "normalized")
    optimizer = settings.optimizer
    assert (optimizer.method, optimizer.variable, optimizer.learning_rate) == ("adam", "free", 0.3)
    assert (optimizer.learning_rate_decay, optimizer.decay_interval) == (0.8, 50)
    assert settings.iterations.first == 500 and settings.encoder.weights == settings.tuned_for == "torchvision"


@pytest.mark.parametrize(("name", "changed"), [("draft", {"size", "iterations.first"}), ("high", {"encoder.padding"})])
def test_presets_with_a_base_change_what_they_say(name: str, changed: set[str]) -> None:
    base, settings = load_settings("default"), load_settings(name)
    named = {line.split(":")[0] for line in differences(to_values(base), to_values(settings))}
    own = yaml.safe_load((PRESET_FOLDER / f"{name}.yaml").read_text())
    assert own.pop("base") == "default"
    assert changed <= named <= {key for key, _ in flatten(own)}


def test_other_weights_than_the_numbers_are_for() -> None:
    assert load_settings("default", ["encoder.weights=torchvision"]).is_retuned
    assert load_settings("d2l", ["encoder.weights=bundled"]).is_retuned
    assert not load_settings("d2l").is_retuned


# --- files and bases --------------------------------------------------------------------------------------------------


def test_a_file_changes_its_base_section_by_section(tmp_path: Path) -> None:
    config = write(tmp_path / "mine.yaml", "base: ruder2016\nstyle: {weight: 1e4}\niterations:\n  first: 7\n")
    settings = load_settings(config)
    assert settings.style.weight == 10_000 and settings.style.layers == RUDER_LAYERS
    assert settings.iterations.first == 7 and settings.iterations.tolerance == 1e-4
    assert settings.start.first == "noise"


def test_layers_are_replaced_and_not_joined(tmp_path: Path) -> None:
    config = write(tmp_path / "mine.yaml", "base: default\nstyle: {layers: {conv3_3: 2}}\n")
    assert load_settings(config).style.layers == {"conv3_3": 2}


def test_a_base_may_be_a_file_with_a_base(tmp_path: Path) -> None:
    first = write(tmp_path / "first.yaml", "base: gatys2016\nsize: 99\n")
    second = write(tmp_path / "second.yml", f"base: {first}\nsize: 100\nstart: {{seed: 3}}\n")
    settings = load_settings(second, ["start.seed=4"])
    assert (settings.size, settings.start.seed, settings.style.gram) == (100, 4, "hw")


def test_a_base_is_looked_for_beside_the_file_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two files in one folder belong together, wherever the command is run."""
    (tmp_path / "settings").mkdir()
    write(tmp_path / "settings" / "common.yaml", "size: 99\n")
    config = write(tmp_path / "settings" / "mine.yaml", "base: common.yaml\n")
    monkeypatch.chdir(tmp_path)
    assert load_settings(config).size == 99


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    assert load_settings(write(tmp_path / "empty.yaml", "# nothing\n")) == Settings()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("- a\n- b\n", "holds a list"),
        ("just words\n", "holds a str"),
        ("style: {weight: 3\n", "YAML"),
        ("a: b: c\n", "YAML"),
        ("\tstyle: 3\n", "YAML"),
        ("style: !!python/object:os.system {}\n", "YAML"),
        ("base: nonsense\n", "no preset 'nonsense'"),
        ("base: [default]\n", "must name a preset"),
        ("base: nothing-here.yaml\n", "no settings file"),
        ("style: 3\n", "style"),
        ("style: [1, 2]\n", "style"),
        ("1: 2\n", "1"),
        ("style: {1: 2}\n", "style"),
        ("style: {layers: {1: 2}}\n", "layers"),
        ("style: {layers: [relu1_1]}\n", "style.layers"),
        ("null: 3\n", "keys should be strings"),
    ],
)
def test_a_file_that_is_wrong(tmp_path: Path, text: str, word: str) -> None:
    config = write(tmp_path / "wrong.yaml", text)
    assert word in refused(config=config)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x80size: 3")
    assert "not readable" in refused(config=str(tmp_path / "binary.yaml"))
    (tmp_path / "folder.yaml").mkdir()
    assert "no settings file" in refused(config=str(tmp_path / "folder.yaml"))
    assert "no settings file" in refused(config=str(tmp_path / "missing.yaml"))
    message = refused(config="fancy")
    assert "no preset 'fancy'" in message
    assert all(name in message for name in preset_names())
    assert "no preset ''" in refused(config="")


def test_bases_in_a_circle(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    write(first, f"base: {second}\n")
    write(second, f"base: {first}\n")
    assert "leads back" in refused(config=str(first))
    write(first, f"base: {first}\n")
    assert "leads back" in refused(config=str(first))


def test_bases_in_a_circle_of_bare_names(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    write(first, "base: second.yaml\n")
    write(second, "base: first.yaml\n")
    assert "leads back" in refused(config=str(first))
    write(second, "base: ./second.yaml\n")
    assert "leads back" in refused(config=str(first))


# --- overrides --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "key", "expected"),
    [
        ("style.weight=1e4", "style.weight", 10_000.0),
        ("style.weight = 2.5", "style.weight", 2.5),
        ("content.weight=0", "content.weight", 0.0),
        ("iterations.first=1e3", "iterations.first", 1000),
        ("size=384", "size", 384),
        ("size=null", "size", None),
        ("size=", "size", None),
        ("shots.detect=false", "shots.detect", False),
        ("encoder.padding=replicate", "encoder.padding", "replicate"),
        ("encoder.weights=/some/file=1.pth", "encoder.weights", "/some/file=1.pth"),
        ("start.first=my picture.png", "start.first", "my picture.png"),
    ],
)
def test_an_override_sets_one_value(override: str, key: str, expected: Any) -> None:
    before, after = to_values(load_settings("draft")), to_values(load_settings("draft", [override]))
    assert dict(flatten(after))[key] == expected
    assert {line.split(":")[0] for line in differences(before, after)} <= {key}


def test_size_none_is_what_the_messages_call_it() -> None:
    """`none` is how the help and the messages write it, so it has to work."""
    assert load_settings("draft", ["size=none"]).size is None
    assert "none" in refused("size=3")


def test_overrides_of_layers() -> None:
    assert load_settings("default", ["style.layers={relu1_1: 1, conv3_1: 1e1}"]).style.layers == {
        "relu1_1": 1,
        "conv3_1": 10,
    }
    added = load_settings("default", ["style.layers.relu3_2=0.5"]).style.layers
    assert added == {**RUDER_LAYERS, "relu3_2": 0.5}


def test_later_overrides_win_and_leave_no_trace() -> None:
    assert load_settings("default", ["size=64", "size=128"]).size == 128
    assert load_settings("default").size is None


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("style.wieght=3", ["unknown setting 'style.wieght'", "did you mean style.weight?", "style.gram"]),
        ("stile.weight=3", ["unknown setting 'stile", "did you mean style"]),
        ("iterations.fist=3", ["did you mean iterations.first?"]),
        ("nonsense=3", ["unknown setting 'nonsense'", "allowed:"]),
        ("style.weight.more=3", ["unknown setting 'style.weight.more'"]),
        ("style.layers.relu1_1.x=3", ["style.layers.relu1_1"]),
        ("size.x=3", ["size"]),
        ("style..weight=3", ["unknown setting 'style."]),
        ("style.weight=-1", ["style.weight", "-1", "from 0 to 1e+12", "default 100"]),
        ("style.weight=2e12", ["style.weight", "from 0 to 1e+12"]),
        ("style.scale=0", ["style.scale", "over 0 to 100"]),
        ("iterations.tolerance=1", ["iterations.tolerance", "under 1"]),
        ("iterations.first=0", ["iterations.first", "a whole number from 1"]),
        ("iterations.first=2.5", ["iterations.first", "a whole number"]),
        ("size=15", ["size", "15", "none or a whole number from 16 to 65536"]),
        ("optimizer.history=21", ["optimizer.history", "from 1 to 20"]),
        ("optimizer.method=sgd", ["optimizer.method", "'sgd'", "lbfgs, adam"]),
        ("encoder.pooling=3", ["encoder.pooling", "max, average"]),
        ("start.next=image.png", ["start.next", "previous, content, matched, noise"]),
        ("shots.detect=maybe", ["shots.detect", "true, false"]),
        ("style.weight=heavy", ["style.weight", "'heavy'", "a number"]),
        ("style.weight=[1]", ["style.weight", "[1]"]),
        ("style.weight=null", ["style.weight", "None"]),
        ("style=null", ["style"]),
        ("style=5", ["style", "5"]),
        ("style.layers={}", ["style.layers", "layer names with weights"]),
        ("style.layers=relu1_1", ["style.layers", "layer names with weights"]),
        ("style.layers={relu9_1: 1}", ["no layer 'relu9_1'"]),
        ("content.layers={relu4-2: 1}", ["did you mean relu4_2"]),
        ("style.layers={relu1_1: -1}", ["style.layers.relu1_1 = -1", "at least 0"]),
        ("style.layers={relu1_1: heavy}", ["style.layers.relu1_1", "heavy"]),
        ("style.layers={relu1_1: 0, relu2_1: 0}", ["style.layers", "every weight is 0"]),
        ("encoder.weights=", ["encoder.weights", "text"]),
        ("style.weight", ["not of the form KEY=VALUE"]),
        ("=3", ["not of the form KEY=VALUE"]),
        ("style.weight={", ["not readable as YAML"]),
    ],
)
def test_a_wrong_override_is_explained_in_one_line(override: str, words: list[str]) -> None:
    message = refused(override)
    for word in words:
        assert word in message, message


@pytest.mark.parametrize("value", ["nan", ".nan", "inf", "-inf", ".inf", "NaN", "1e999", "Infinity"])
@pytest.mark.parametrize("key", ["style.weight", "optimizer.smoothing", "iterations.first", "size"])
def test_what_is_not_a_finite_number_is_refused(key: str, value: str) -> None:
    assert key in refused(f"{key}={value}")


@pytest.mark.parametrize("value", [".nan", ".inf", "nan", "1e999", "2e12"])
def test_layer_weights_are_finite_too(value: str) -> None:
    assert "relu1_1" in refused(f"style.layers={{relu1_1: {value}}}")


@pytest.mark.parametrize("key", ["style.weight", "iterations.first", "size"])
def test_true_is_no_number(key: str) -> None:
    assert key in refused(f"{key}=true")


def test_settings_cannot_be_changed_afterwards() -> None:
    settings = load_settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.size = 3
    with pytest.raises(ValueError, match="frozen"):
        settings.style.weight = 3


# --- fingerprints and differences -------------------------------------------------------------------------------------


def reversed_keys(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: reversed_keys(values[key]) for key in reversed(values)}
    return values


def test_the_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    values = to_values(load_settings("default"))
    assert list(reversed_keys(values)) != list(values)
    assert fingerprint(reversed_keys(values)) == fingerprint(values)
    assert len({fingerprint(to_values(load_settings(name))) for name in preset_names()}) == len(preset_names())


@pytest.mark.parametrize(
    "override",
    [
        "style.weight=100.00000000000001",
        "start.seed=1",
        "size=64",
        "style.layers.relu1_1=0",
        "encoder.padding=replicate",
    ],
)
def test_every_change_changes_the_fingerprint(override: str) -> None:
    before, after = (to_values(load_settings("default", changes)) for changes in ([], [override]))
    assert fingerprint(before) != fingerprint(after)
    (line,) = differences(before, after)
    key = override.partition("=")[0]
    assert line == f"{key}: {dict(flatten(before))[key]} → {dict(flatten(after))[key]}"


def test_equal_numbers_are_equal_settings() -> None:
    before = to_values(load_settings("default", ["style.weight=100"]))
    assert fingerprint(before) == fingerprint(to_values(load_settings("default", ["style.weight=1e2"])))


def test_differences_name_what_one_side_lacks() -> None:
    before = {"a": {"b": 1, "c": 2}, "d": 3}
    after = {"a": {"b": 1, "c": 5}, "e": {"f": 4}}
    assert differences(before, after) == ["a.c: 2 → 5", "d: 3 → (not set)", "e.f: (not set) → 4"]
    assert differences(before, reversed_keys(before)) == []


@given(
    st.recursive(
        st.one_of(st.integers(), st.text(max_size=3), st.booleans()),
        lambda inner: st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, min_size=1, max_size=3),
        max_leaves=8,
    ).filter(lambda values: isinstance(values, dict))
)
def test_flattening_loses_nothing(values: dict[str, Any]) -> None:
    def rebuilt(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for key, value in pairs:
            *parents, leaf = key.split(".")
            node = tree
            for part in parents:
                node = node.setdefault(part, {})
            node[leaf] = value
        return tree

    assert rebuilt(list(flatten(values))) == values
    assert differences(values, values) == []


# --- documentation ----------------------------------------------------------------------------------------------------


def leaves(model: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            keys += leaves(inner, f"{prefix}{name}.")
        else:
            keys.append(f"{prefix}{field.alias or name}")
    return keys


def test_every_setting_is_documented() -> None:
    documented = list(documented_fields())
    assert [key for key, *_ in documented] == leaves(Settings)
    for key, default, allowed, meaning in documented:
        assert meaning.endswith((".", "…")), key
        assert allowed, key
        assert default or key == "description", key
        for text in (default, allowed, meaning):
            assert "\n" not in text


def test_documented_defaults_and_ranges() -> None:
    documented = {key: (default, allowed) for key, default, allowed, _ in documented_fields()}
    assert documented["style.weight"] == ("100", "a number from 0 to 1e+12")
    assert documented["style.scale"] == ("1", "a number from over 0 to 100")
    assert documented["size"] == ("none", "none or a whole number from 16 to 65536")
    assert documented["encoder.pooling"] == ("max", "max, average")
    assert documented["content.layers"][0] == "{relu4_2: 1}"
    assert documented["shots.detect"] == ("true", "true, false")
    assert documented["iterations.tolerance"][1] == "a number from 0 to under 1"


@pytest.mark.parametrize("key", [key for key in leaves(Settings) if key not in ("description",)])
def test_a_documented_default_can_be_set(key: str) -> None:
    """What the help prints as a default is what `--set` takes."""
    default = next(shown for name, shown, *_ in documented_fields() if name == key)
    settings = load_settings("default", [f"{key}={default}"])
    assert dict(flatten(to_values(settings))).get(key) == dict(flatten(to_values(Settings()))).get(key)
