"""Painting: a `FrameTask` goes in, a `PaintedFrame` comes out.

`Painter` holds what the frames of a job share: encoder, style and settings on one device. For a task it gives the
objective (`losses`, `objective`) and the picture to start from (`initial`, `warped_paintings`); `batch` minimises the
one from the other with L-BFGS or Adam (`lbfgs`, `adam`), with checkpoints, and measures the losses of the 8-bit
result. Devices, threads and precision are in `devices`. No files are read here but weights and checkpoints.
"""
