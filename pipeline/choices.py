"""The words that settings choose between, each set of them once: for the settings, and for the code that they reach."""

from typing import Literal

Pooling = Literal["max", "average"]
Padding = Literal["zeros", "replicate"]

ContentReduction = Literal["mean", "half_sum"]
GramNormalization = Literal["chw", "hw"]
Statistics = Literal["gram", "gram_moments", "wasserstein"]
TotalVariationForm = Literal["absolute_sum", "absolute_mean", "squared_sum"]
PixelUnit = Literal["byte", "normalized"]

VariableKind = Literal["bounded", "free"]

Precision = Literal["fp32", "tf32", "bf16"]
PrecisionSetting = Literal["auto", Precision]

FlowMethod = Literal["dis", "raft", "files"]
"""How optical flow is had: an algorithm, a network, or `.flo` files."""
FlowMethodSetting = Literal["auto", FlowMethod]
