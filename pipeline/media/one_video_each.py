"""How several videos are painted: one command for each, as a loop that can be pasted into a shell."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from .containers import is_video_name


def loop_over(videos: Sequence[Path], styles: Sequence[Path], output: Path) -> str:
    """A shell's loop that paints each of some videos to an output of its own: `out-NAME.mp4` for the output `out.mp4`,
    the folder `out/NAME` for the folder `out`. Names that are given twice are numbered."""
    before, ending = (f"{output.with_suffix('')}-", output.suffix) if is_video_name(output) else (f"{output}/", "")
    name, begin, count = "${name%.*}", "", ""
    if len({video.stem.casefold() for video in videos}) < len(videos):
        name, begin, count = f"$i-{name}", "i=0; ", "i=$((i+1)); "
    target = f'{shlex.quote(before)}"{name}"{ending}'
    command = f'impasto stylize "$clip" {_options(styles)}--output {target}'
    return f"{begin}for clip in {' '.join(map(_word, videos))}; do {count}name=${{clip##*/}}; {command}; done"


def command_for(photos: Sequence[Path], styles: Sequence[Path], output: Path) -> str:
    """A command that paints photos to a folder, which is beside the output where that is a video."""
    folder = output.with_name(f"{output.stem}-photos") if is_video_name(output) else output
    return f"impasto stylize {' '.join(map(_word, photos))} {_options(styles)}--output {_word(folder)}"


def _options(styles: Sequence[Path]) -> str:
    return "".join(f"--style {_word(style)} " for style in styles)


def _word(path: Path) -> str:
    """A path as a word of a shell, which no program takes for an option."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)
