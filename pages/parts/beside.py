"""Generated images beside originals: of one set with the nearest to each, or of several sets."""

from base64 import b64encode

import numpy as np
import streamlit as st

from pages.parts.gallery import Group, Tile, gallery
from pages.parts.plain import plain
from rebalance_core.datasets.dataset import open_dataset
from rebalance_core.images import png_bytes
from rebalance_core.pictures import SampleRows, originals, sample_rows, shown
from rebalance_core.synthesis.synthetic_set import SyntheticSet, list_synthetic, open_synthetic
from rebalance_core.workspace import Workspace

COUNTS = (10, 20, 50)


def picture_tile(name: str, pixels: np.ndarray, caption: str = "", hint: str = "") -> Tile:
    """A tile of uint8 (H, W, C)."""
    source = f"data:image/png;base64,{b64encode(png_bytes(pixels)).decode()}"
    return Tile(name, source, caption, hint or name)


def beside_originals(workspace: Workspace, found: SyntheticSet) -> None:
    label, count = _choose(found, "beside")
    created = float(found.provenance.get("created") or 0)
    rows = _rows(str(found.path), created, label, count, workspace, found)
    order = "name" if found.provenance.get("run") is None else "seed"
    generated, nearest = [], []
    for k, pixels in enumerate(rows.generated):
        copy = bool(rows.copies[k])
        told = f"{rows.distances[k]:.1f}"
        generated.append(picture_tile(f"generated {k + 1}", pixels))
        caption = f"⚠ copy · {told}" if copy else told
        nearest.append(picture_tile(f"nearest to {k + 1}", rows.nearest[k], caption, caption))
    top = [picture_tile(f"original {k + 1}", p) for k, p in enumerate(rows.originals)]
    gallery(
        [
            Group(top, "original"),
            Group(generated, "generated"),
            Group(nearest, "nearest original to each generated image"),
        ],
        key=f"pictures {found.name}",
        columns=COUNTS[0],  # so that what belongs together stands one above the other
    )
    copies = int(rows.copies.sum())
    st.caption(
        f"The first {len(generated)} by {order}, never picked. Beneath each nearest original: its "
        "distance, root mean square in gray levels (0 to 255). "
        + (
            f"{copies} of them are near-copies of a training image."
            if copies
            else "None of them is a near-copy of a training image."
        )
    )


def side_by_side(workspace: Workspace, found: SyntheticSet) -> None:
    """One class by several generators, under the same originals."""
    label, count = _choose(found, "sides")
    dataset = found.training_set.config.dataset
    others = [
        name
        for name in list_synthetic(workspace)[::-1]
        if name != found.name and _shows(open_synthetic(workspace, name), dataset, label)
    ]
    if not others:
        st.info(
            f"There is no other set with images of {plain(label)}; sample another generator, and "
            "both stand here under the same originals."
        )
    chosen = st.multiselect("Beside", others, others[:2], key=f"others {found.name}")
    top = originals(open_dataset(workspace, dataset), found, label, count)
    groups = [Group([picture_tile(f"original {k + 1}", p) for k, p in enumerate(top)], "original")]
    for name in (found.name, *chosen):
        one = open_synthetic(workspace, name)
        tiles = [picture_tile(f"{name} {k + 1}", p) for k, p in
                 enumerate(shown(one.images(label, count)))]  # fmt: skip
        groups.append(Group(tiles, f"{one.generator} ({name})"))
    gallery(groups, key=f"rows {found.name}", columns=COUNTS[0])
    st.caption("The first by seed of each, never picked.")


def _choose(found: SyntheticSet, key: str) -> tuple[str, int]:
    """Class and number of images."""
    labels = list(found.counts)
    left, right = st.columns([4, 1], vertical_alignment="bottom")
    label = left.segmented_control("Class", labels, default=labels[0], key=f"{key} {found.name}")
    count = right.selectbox("Images", COUNTS, key=f"{key} count {found.name}")
    return label or labels[0], count


def _shows(other: SyntheticSet, dataset: str, label: str) -> bool:
    return other.training_set.config.dataset == dataset and label in other.counts


@st.cache_data(max_entries=50, show_spinner="Looking for the nearest originals …")
def _rows(
    path: str, created: float, label: str, count: int, _workspace: Workspace, _found: SyntheticSet
) -> SampleRows:
    """Once for each set, class and number: the search goes over all originals of the class."""
    dataset = open_dataset(_workspace, _found.training_set.config.dataset)
    return sample_rows(dataset, _found, label, count)
