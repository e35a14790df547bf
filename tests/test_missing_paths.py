"""Paths with nothing at them, by what was meant."""

from pathlib import Path

import pytest

import impasto
from impasto.errors import InputError, UsageError
from impasto.media import decoding
from impasto.media.find_content import resolve_content
from impasto.media.picture_arguments import to_array


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("http://a.example/b.png", "it is a URL, and only files are read; download it first"),
        ("ftp://a.example/b.png", "download it first"),
        ("file:///b/c%20d.png", "it is a URL; name the file by its path: /b/c d.png"),
        ("-", "standard input is not read; save it to a file first"),
        ("~/b.png", "a shell replaces ~ only at the start of a word and outside of quotes; write the whole path"),
        ("*.jpg", "no file has this name, or matches it as a pattern; check it"),
        ("[ab].png", "it is a pattern, which only a shell replaces by what matches it (1); leave out the quotes"),
        ("b.png", "check the name"),
    ],
)
def test_what_was_meant_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, remedy: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.png").touch()
    for read in (decoding.read_image, lambda path: resolve_content([path], Path("o.png"), "auto")):
        with pytest.raises(InputError) as raised:
            read(Path(name))
        assert str(raised.value).endswith(remedy)


def test_an_empty_string_is_no_path(tmp_path: Path) -> None:
    paths = {"content": "a.png", "style": "b.png", "output": "o.png", "job": "j"}
    for name in paths:
        with pytest.raises(UsageError, match=f"{name} is an empty string: give a path"):
            impasto.dry_run(**{**paths, name: ""})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="content is an empty string: give a path, a PIL image"):
        to_array("", "content")
