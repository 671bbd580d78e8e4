"""How a classifier is shown its images and weighs their errors."""

from typing import Literal

Sampler = Literal["as-is", "over", "under"]
Loss = Literal["cross-entropy", "class-weighted", "focal", "logit-adjusted"]
Augmentation = Literal["none", "scans"]
