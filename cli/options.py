"""Arguments and options that commands share, as annotated types."""

from pathlib import Path
from typing import Annotated

import typer

VIDEO_PANEL, PHOTOS_PANEL, DEVICES_PANEL = "Videos", "Photos", "Devices"

StyleOption = Annotated[
    list[Path],
    typer.Option("--style", "-s", metavar="IMAGE", help="Style image; repeat the option to blend several."),
]
StyleWeightOption = Annotated[
    list[float] | None,
    typer.Option("--style-weight", metavar="W", min=0, help="Weight of each style, in the same order. Default: equal."),
]
ConfigOption = Annotated[
    str, typer.Option("--config", "-c", metavar="NAME|FILE", help="Preset (see `impasto configs`) or YAML file.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one setting, as in style.weight=200; can be repeated."),
]
WeightsOption = Annotated[
    str | None,
    typer.Option(metavar="bundled|torchvision|FILE", help="Encoder weights. Default: those of the preset."),
]
PrecisionOption = Annotated[
    str | None,
    typer.Option(
        metavar="auto|fp32|tf32|bf16",
        help="Precision of the encoder. auto: bf16 where the device has units for it (twice as fast or more, with the "
        "last iterations exact), else fp32. Default: that of the preset.",
        rich_help_panel=DEVICES_PANEL,
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        metavar="auto|cpu|cuda|cuda:N,…",
        help="Where to paint. auto: on every GPU, or on the CPU if there is none.",
        rich_help_panel=DEVICES_PANEL,
    ),
]
ExecutorOption = Annotated[
    str,
    typer.Option(
        metavar="auto|inline|processes|ray",
        help="Paint in this process, in one process per device, or on a Ray cluster. auto: processes where they are "
        "faster, else inline.",
        rich_help_panel=DEVICES_PANEL,
    ),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT|auto",
        help="Ray cluster to paint on. Default: a temporary one on this machine.",
        rich_help_panel=DEVICES_PANEL,
    ),
]
BatchOption = Annotated[
    str,
    typer.Option(
        metavar="auto|N",
        help="Pictures of one size that a device paints together. auto: by their size and the memory of the GPU; on a "
        "CPU 1.",
        rich_help_panel=DEVICES_PANEL,
    ),
]
MemoryOption = Annotated[
    str | None,
    typer.Option(
        metavar="AMOUNT",
        help="Memory that painting may take, as 6GB or 5.5GiB: of each GPU, or of all workers on a CPU together. "
        "Pictures that need more are painted in tiles. Default: four fifths of what is free.",
        rich_help_panel=DEVICES_PANEL,
    ),
]
SegmentsOption = Annotated[
    str,
    typer.Option(
        metavar="auto|N",
        help="Paint each long shot in N segments in parallel. auto: as many as several GPUs gain by.",
        rich_help_panel=DEVICES_PANEL,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object per line on stdout.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
JobArgument = Annotated[Path, typer.Argument(metavar="JOB", help="Folder of the job: OUTPUT.impasto.")]

# Of stylize alone

ContentArgument = Annotated[
    list[Path],
    typer.Argument(metavar="CONTENT", help="An image, several images, a folder of photos or frames, or a video."),
]
OutputOption = Annotated[
    Path, typer.Option("--output", "-o", metavar="PATH", help="Image, folder or video to make, by its ending.")
]
SizeOption = Annotated[
    int | None,
    typer.Option("--size", metavar="N", help="Reduce to at most N pixels on the longer side; never enlarged."),
]
IterationsOption = Annotated[
    str | None,
    typer.Option(
        metavar="FIRST[,NEXT]",
        help="Most iterations of a cold start (photos, first frame of a shot) and of a warm start (later frames). "
        "With several passes: one number, for each pass.",
    ),
]
SequenceOption = Annotated[
    bool,
    typer.Option("--sequence", help="Treat the images as the frames of one video.", rich_help_panel=VIDEO_PANEL),
]
PhotosOption = Annotated[
    bool,
    typer.Option("--photos", help="Treat the images as independent photos.", rich_help_panel=PHOTOS_PANEL),
]
FramesOption = Annotated[
    str | None,
    typer.Option(metavar="A:B", help="Paint only frames A to B-1, counted from 0.", rich_help_panel=VIDEO_PANEL),
]
VideoStreamOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=0,
        help="Paint stream N of a video with several. Default: the one that players show.",
        rich_help_panel=VIDEO_PANEL,
    ),
]
FpsOption = Annotated[
    str | None,
    typer.Option(
        metavar="RATE",
        help="Frame rate of a video made from images, as 30 or 30000/1001. Default: 24.",
        rich_help_panel=VIDEO_PANEL,
    ),
]
CutsOption = Annotated[
    str | None,
    typer.Option(
        metavar="auto|none|A,B,…|FILE",
        help="Cuts: detect them (auto), treat all as one shot (none), or list the first frames of new shots.",
        rich_help_panel=VIDEO_PANEL,
    ),
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="png|jpg|webp|tiff|bmp",
        help="Format of the painted photos. Default: that of each photo.",
        rich_help_panel=PHOTOS_PANEL,
    ),
]
StripOption = Annotated[bool, typer.Option("--strip", help="Leave out metadata (camera, location, author).")]
CodecOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Video codec: h264, hevc, av1, vp9, prores or ffv1; on a GPU that has NVENC h264_nvenc or hevc_nvenc. "
        "Default: h264; vp9 in .webm.",
        rich_help_panel=VIDEO_PANEL,
    ),
]
CrfOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Video quality on the codec's own scale, 0 is best. Default: visually lossless.",
        rich_help_panel=VIDEO_PANEL,
    ),
]
PixelFormatOption = Annotated[
    str | None,
    typer.Option(
        "--pixel-format",
        metavar="FMT",
        help="Pixel format of the video, as yuv420p10le. Default: one that players support.",
        rich_help_panel=VIDEO_PANEL,
    ),
]
CompareOption = Annotated[
    bool, typer.Option("--compare", help="Also write content and result side by side, as OUTPUT-compare.")
]
JobOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder of the job. Default: OUTPUT.impasto beside the output.")
]
ForceOption = Annotated[
    bool, typer.Option("--force", "-f", help="Overwrite the output and start its job from the beginning.")
]
DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Paint nothing; report the frames, the time, the disk space and the memory of the job."
    ),
]
