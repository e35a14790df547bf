"""Motion of the content: optical flow, occlusion masks, static regions and warping.

In go the frames of a film (`media.frame_reader`), or flow files of another program. Out come, for each frame, its
content at the painting's size and links to other frames of its shot (`reader.MotionReader`): the flow to that frame and
a visibility mask, 1 where both frames show the same surface and 0 where it is occluded. `flow` holds the conventions,
`dis` and `raft` estimate flow, `flo_files` reads it, `occlusion` makes the masks, `static` finds the regions that do
not move, `chaining` follows the flow to distant keyframes, and `warp` brings one picture onto the grid of another.
Nothing here depends on what has been painted.
"""
