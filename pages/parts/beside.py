"""Generated images beside originals: one set with nearest originals, or several sets."""

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
ACROSS = 10  # images per row, so that each stands above its nearest original
ORIGINAL, GENERATED, NEAREST = "original", "generated", "nearest to"


def picture_tile(name: str, pixels: np.ndarray, caption: str = "", mark: Mark = "") -> Tile:
    """A tile of uint8 (H, W, C)."""
    source = f"data:image/png;base64,{b64encode(png_bytes(pixels)).decode()}"
    return Tile(name, source, caption, name, mark)


def beside_originals(workspace: Workspace, synthetic: SyntheticSet) -> None:
    label, count = _choose(synthetic, "beside")
    created = synthetic.provenance.created or 0.0
    rows = _rows(str(synthetic.path), created, label, count, workspace, synthetic)
    order = "name" if synthetic.provenance.run is None else "seed"
    clicked = gallery(_groups(rows), key=f"pictures {synthetic.name}", columns=ACROSS)
    copies = int(rows.copies.sum())
    many = "near-copies" if copies > 1 else "a near-copy"
    flagged = f"{copies or 'None'} flagged as {many}"
    st.caption(
        f"The first {len(rows.generated)} by {order}, never picked. Beneath each nearest original: "
        "its distance, root mean square in gray levels (0 to 255). Click an image to enlarge it. "
        f"{flagged} of a training image; copies are also found mirrored, flipped or turned, as far "
        "as the dataset's symmetries allow."
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
    text = f"Distance {rows.distances[k]:.1f} gray levels."
    _enlarge(pair, f"{text} A near-copy of this training image." if rows.copies[k] else text)


@st.dialog("Image", width="large")
def _enlarge(pictures: Mapping[str, np.ndarray], text: str = "") -> None:
    """One or two pictures side by side, {name: uint8 (H, W, C)}."""
    for column, (name, pixels) in zip(st.columns(2), pictures.items(), strict=False):
        column.image(png_bytes(pixels), escape_markdown(name), width="stretch")
    st.markdown(text)


def side_by_side(workspace: Workspace, synthetic: SyntheticSet) -> None:
    """One class by several generators, under the same originals."""
    label, count = _choose(synthetic, "sides")
    dataset = synthetic.training_set.config.dataset
    others = [
        other.name
        for other in open_all_synthetic(workspace)[0][::-1]
        if other.name != synthetic.name and _has_class(other, dataset, label)
    ]
    if not others:
        st.info(
            f"There is no other set with images of {escape_markdown(label)}; sample another "
            "generator to see both below the same originals."
        )
    selected = st.multiselect("Beside", others, others[:2], key=f"others {synthetic.name}")
    top = originals(open_dataset(workspace, dataset), synthetic, label, count)
    rows = {(ORIGINAL, "original"): top}
    for name in (synthetic.name, *selected):
        other = open_synthetic(workspace, name)
        rows[name, f"{other.generator} ({name})"] = upscale(other.images(label, count))
    pictures = {
        f"{name} {k}": pixels
        for (name, _), images in rows.items()
        for k, pixels in enumerate(images, 1)
    }
    groups = [Group(_numbered(name, images), title) for (name, title), images in rows.items()]
    clicked = gallery(groups, key=f"rows {synthetic.name}", columns=ACROSS)
    st.caption("The first by seed of each, never picked. Click an image to enlarge it.")
    if clicked:
        _enlarge({clicked: pictures[clicked]})


def _choose(synthetic: SyntheticSet, key: str) -> tuple[str, int]:
    """Class and number of images."""
    labels = list(synthetic.counts)
    left, right = st.columns([4, 1], vertical_alignment="bottom")
    label = left.segmented_control(
        "Class", labels, default=labels[0], key=f"{key} {synthetic.name}"
    )
    count = right.selectbox("Images", COUNTS, key=f"{key} count {synthetic.name}")
    return label or labels[0], count


def _has_class(other: SyntheticSet, dataset: str, label: str) -> bool:
    return other.training_set.config.dataset == dataset and label in other.counts


@st.cache_data(max_entries=50, show_spinner="Searching for the nearest originals …")
def _rows(
    path: str,
    created: float,
    label: str,
    count: int,
    _workspace: Workspace,
    _synthetic: SyntheticSet,
) -> SampleRows:
    """The rows of a set, class and number, cached: the search covers all originals of the class."""
    dataset = open_dataset(_workspace, _synthetic.training_set.config.dataset)
    return sample_rows(dataset, _synthetic, label, count)
