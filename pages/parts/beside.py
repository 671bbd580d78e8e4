"""Generated images beside originals: of one set with the nearest to each, or of several sets."""

from base64 import b64encode
from collections.abc import Mapping

import numpy as np
import streamlit as st

from pages.parts.gallery import Group, Mark, Tile, gallery
from pages.parts.markdown import escape_markdown
from rebalance_core.datasets.dataset import open_dataset
from rebalance_core.imaging.grid import png_bytes
from rebalance_core.synthesis.pictures import SampleRows, originals, sample_rows, upscale
from rebalance_core.synthesis.synthetic_set import SyntheticSet, open_all_synthetic, open_synthetic
from rebalance_core.workspace import Workspace

COUNTS = (10, 20, 50)
ACROSS = 10  # so that what belongs together stands one above the other
ORIGINAL, GENERATED, NEAREST = "original", "generated", "nearest to"


def picture_tile(name: str, pixels: np.ndarray, caption: str = "", mark: Mark = "") -> Tile:
    """A tile of uint8 (H, W, C)."""
    source = f"data:image/png;base64,{b64encode(png_bytes(pixels)).decode()}"
    return Tile(name, source, caption, name, mark)


def beside_originals(workspace: Workspace, found: SyntheticSet) -> None:
    label, count = _choose(found, "beside")
    created = found.provenance.created or 0.0
    rows = _rows(str(found.path), created, label, count, workspace, found)
    order = "name" if found.provenance.run is None else "seed"
    clicked = gallery(_groups(rows), key=f"pictures {found.name}", columns=ACROSS)
    copies = int(rows.copies.sum())
    many = "near-copies" if copies > 1 else "a near-copy"
    flagged = f"{copies or 'None'} flagged as {many}"
    st.caption(
        f"The first {len(rows.generated)} by {order}, never picked. Beneath each nearest original: "
        "its distance, root mean square in gray levels (0 to 255). Click an image to enlarge it. "
        f"{flagged} of a training image; mirrored, flipped and turned copies are not found."
    )
    if clicked:
        _open(rows, clicked)


def _groups(rows: SampleRows) -> list[Group]:
    """Originals on top; below, each generated image above the original nearest to it."""
    groups = [Group(_numbered(ORIGINAL, rows.originals), "original")]
    generated = _numbered(GENERATED, rows.generated)
    nearest = [
        picture_tile(
            f"{NEAREST} {k + 1}",
            pixels,
            f"{rows.distances[k]:.1f}" + "\n⚠ copy" * bool(rows.copies[k]),
            "warn" if rows.copies[k] else "",
        )
        for k, pixels in enumerate(rows.nearest)
    ]
    for start in range(0, len(generated), ACROSS):
        band = slice(start, start + ACROSS)
        groups.append(Group(generated[band], "" if start else "generated"))
        title = "" if start else "nearest original to each generated image"
        groups.append(Group(nearest[band], title))
    return groups


def _numbered(name: str, images: np.ndarray) -> list[Tile]:
    return [picture_tile(f"{name} {k + 1}", pixels) for k, pixels in enumerate(images)]


def _open(rows: SampleRows, clicked: str) -> None:
    """An original, or a generated image beside the original nearest to it."""
    name, _, number = clicked.rpartition(" ")
    k = int(number) - 1
    if name == ORIGINAL:
        _enlarge({clicked: rows.originals[k]})
        return
    pair = {f"{GENERATED} {number}": rows.generated[k], f"{NEAREST} {number}": rows.nearest[k]}
    told = f"Distance {rows.distances[k]:.1f} gray levels."
    _enlarge(pair, f"{told} A near-copy of this training image." if rows.copies[k] else told)


@st.dialog("Image", width="large")
def _enlarge(pictures: Mapping[str, np.ndarray], told: str = "") -> None:
    """One or two pictures side by side, {name: uint8 (H, W, C)}."""
    for column, (name, pixels) in zip(st.columns(2), pictures.items(), strict=False):
        column.image(png_bytes(pixels), escape_markdown(name), width="stretch")
    st.markdown(told)


def side_by_side(workspace: Workspace, found: SyntheticSet) -> None:
    """One class by several generators, under the same originals."""
    label, count = _choose(found, "sides")
    dataset = found.training_set.config.dataset
    others = [
        other.name
        for other in open_all_synthetic(workspace)[0][::-1]
        if other.name != found.name and _shows(other, dataset, label)
    ]
    if not others:
        st.info(
            f"There is no other set with images of {escape_markdown(label)}; sample another "
            "generator to see both below the same originals."
        )
    chosen = st.multiselect("Beside", others, others[:2], key=f"others {found.name}")
    top = originals(open_dataset(workspace, dataset), found, label, count)
    rows = {(ORIGINAL, "original"): top}
    for name in (found.name, *chosen):
        one = open_synthetic(workspace, name)
        rows[name, f"{one.generator} ({name})"] = upscale(one.images(label, count))
    pictures = {
        f"{name} {k}": pixels
        for (name, _), images in rows.items()
        for k, pixels in enumerate(images, 1)
    }
    groups = [Group(_numbered(name, images), title) for (name, title), images in rows.items()]
    clicked = gallery(groups, key=f"rows {found.name}", columns=ACROSS)
    st.caption("The first by seed of each, never picked. Click an image to enlarge it.")
    if clicked:
        _enlarge({clicked: pictures[clicked]})


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
