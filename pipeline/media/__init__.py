"""Media files: what the content is, reading it, and writing results.

In go paths of images, folders and videos. Out come the list of content files (`find_content`), facts of a video
(`probe`, `scan`), frames as `H×W×3` uint8 arrays in RGB and sRGB, upright, with exact times as fractions, and metadata
that goes along with them. `FrameReader` reads frames by index. `decoding` does all reading of files of unknown origin
in child processes, which a hostile file may crash or stall. `images` writes pictures; `video_writer` writes videos
through ffmpeg, with the sound and subtitles of a source. Errors of a file leave as `InputError`.
"""
