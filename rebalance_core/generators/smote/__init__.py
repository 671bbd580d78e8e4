"""SMOTE: images of a minority class, interpolated towards nearest neighbours of the class."""

from rebalance_core.generators.smote.config import SmoteConfig
from rebalance_core.generators.spec import GeneratorSpec

SPEC = GeneratorSpec(
    name="smote",
    title="SMOTE, between neighbours; no network, seconds",
    summary="blends of two neighbouring images of a class",
    description="Blends training images of {minority}, each with one of its nearest neighbours of "
    "the same class. That takes seconds, whatever the preset; only the space *features* trains a "
    "classifier first, with its epochs and lr. It is a remedy that costs nothing. It stores the "
    "training images themselves.",
    config=SmoteConfig,
    implementation="rebalance_core.generators.smote.model:SmoteGenerator",
    main_fields=("size", "neighbours", "space"),
    not_continuable_reason="it has nothing more to learn",
    learns=False,
    min_images=2,
    marker_file="images.safetensors",
    file_names="config.json and images.safetensors",
    preview_captions={"": "training images, their blends, and the neighbours on the other side"},
)
