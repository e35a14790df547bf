"""Shots: where the cuts, fades and dissolves of a video are.

In go the reduced frames of a video one by one, in the order in which `media` scans them; out come `Boundary` records,
and from these, or from cuts that a person names, the shots as half-open ranges of frames. Nothing is carried over a
cut. The package opens no video.
"""
