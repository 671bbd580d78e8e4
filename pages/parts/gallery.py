"""Clickable image gallery, and a dialog with one enlarged image and its metadata."""

import base64
import io
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import streamlit as st
from PIL import Image

from rebalance_core.datasets.dataset import Dataset
from rebalance_core.datasets.gray_levels import format_level
from rebalance_core.imaging.symmetry import IDENTITY, KINDS, apply_symmetry

Mark = Literal["", "warn", "out"]  # none, framed, faded
TILE = 128  # px of a thumbnail, displayed smaller on screens with a pixel ratio of 1

HTML = '<div class="gallery"></div>'
CSS = """
.gallery { display: flex; flex-direction: column; gap: 0.75rem; }
.group { display: grid; grid-template-columns: repeat(auto-fill, minmax(100px, 1fr)); gap: 0.4rem;
  align-items: start; }
.title { color: var(--st-text-color); font: 0.85rem var(--st-font); margin: 0 0 0.25rem; }
.tile { padding: 3px; border: 1px solid transparent; border-radius: 6px;
  background: none; text-align: left; }
.tile:hover, .tile:focus-visible { border-color: var(--st-primary-color);
  background: var(--st-secondary-background-color); outline: none; }
.tile img { width: 100%; aspect-ratio: 1; object-fit: contain; background: #000; display: block;
  border-radius: 3px; }
.tile span { display: block; color: var(--st-text-color); font: 0.72rem var(--st-font);
  overflow: hidden; text-overflow: ellipsis; white-space: nowrap; padding-top: 2px; }
.tile.warn img { outline: 3px solid var(--st-orange-color); outline-offset: -3px; }
.tile.warn span { font-weight: 700; }
.tile.out img { opacity: 0.3; }
"""
# All text is set through textContent or properties, since file names are untrusted.
JS = """
export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector('.gallery')
  root.replaceChildren(...data.groups.map((group) => {
    const section = document.createElement('section')
    if (group.title) {
      const title = document.createElement('p')
      title.className = 'title'
      title.textContent = group.title
      section.append(title)
    }
    const row = document.createElement('div')
    row.className = 'group'
    if (data.columns) row.style.gridTemplateColumns = `repeat(${data.columns}, minmax(0, 1fr))`
    row.append(...group.tiles.map((tile) => {
      const button = document.createElement('button')
      button.className = `tile ${tile.mark}`
      button.type = 'button'
      button.style.cursor = data.cursor
      button.title = tile.hint
      button.setAttribute('aria-label', tile.hint)
      const image = document.createElement('img')
      image.src = tile.source
      image.alt = ''
      button.append(image)
      for (const line of tile.caption.split('\\n').filter(Boolean)) {
        const text = document.createElement('span')
        text.textContent = line
        button.append(text)
      }
      button.onclick = () => setTriggerValue('clicked', tile.id)
      return button
    }))
    section.append(row)
    return section
  }))
}
"""


@dataclass(frozen=True)
class Tile:
    """One image: a click returns `id`; `hint` is the tooltip and accessible name."""

    id: str
    source: str  # data URL, from `data_url`
    caption: str = ""  # lines below the image
    hint: str = ""
    mark: Mark = ""


@dataclass(frozen=True)
class Group:
    """Tiles side by side under a title."""

    tiles: list[Tile]
    title: str = ""


def gallery(
    groups: list[Group], key: str, columns: int | None = None, cursor: str = "zoom-in"
) -> str | None:
    """Render tiles, `columns` per row or as many as fit; return the id of a tile just clicked.

    `cursor` is the CSS cursor over a tile, which indicates the effect of a click.
    """
    data = {
        "columns": columns,
        "cursor": cursor,
        "groups": [
            {"title": g.title, "tiles": [{**vars(t), "hint": t.hint or t.id} for t in g.tiles]}
            for g in groups
        ],
    }
    result = _component()(data=data, key=key, on_clicked_change=lambda: None)
    clicked: str | None = result.clicked
    return clicked


@st.cache_resource
def _component() -> Any:
    return st.components.v2.component("gallery", html=HTML, css=CSS, js=JS)


def data_url(image: Image.Image, size: int = TILE) -> str:
    """Encode an image in mode L or RGB as a data URL, downscaled to fit `size` pixels."""
    small = image.copy()
    small.thumbnail((size, size))
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=85)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


@st.cache_data(max_entries=4000, show_spinner=False)
def _source(fingerprint: str, image: str, symmetry: int, _dataset: Dataset) -> str:
    with _dataset.open(image) as opened:
        if symmetry == IDENTITY:
            return data_url(opened)
        turned = apply_symmetry(np.asarray(opened)[None], symmetry)[0]
        return data_url(Image.fromarray(np.ascontiguousarray(turned)))


def image_tile(
    dataset: Dataset, image: str, *, with_class: bool = True, symmetry: int = IDENTITY
) -> Tile:
    """Tile of a dataset image, captioned with class and split, with its id as the tooltip.

    Shown, and captioned, under a symmetry; a click still enlarges the original.
    """
    row = dataset.catalogue.iloc[dataset.rows[image]]
    caption = f"{row['class']}\n{row['split']}" if with_class else image.rpartition("/")[2]
    if symmetry != IDENTITY:
        caption += f", shown {KINDS[symmetry]}"
    return Tile(image, _source(dataset.fingerprint, image, symmetry, dataset), caption, image)


def _limits(row: "pd.Series[Any]") -> str:
    """The gray values shown as black and white; '' for images of 8 bits."""
    low, high = row.get("low", np.nan), row.get("high", np.nan)
    return "" if np.isnan(low) else f"{format_level(low)} to {format_level(high)}"


@st.dialog("Image", width="large")
def enlarge(dataset: Dataset, image: str) -> None:
    """Show an original image with its file name and metadata in a dialog."""
    row = dataset.catalogue.iloc[dataset.rows[image]]
    left, right = st.columns([3, 2])
    with dataset.open(image) as opened:
        left.image(opened, width="stretch")
    metadata = {
        "File": image,
        "Class": row["class"],
        "Split": row["split"],
        "Pixels": f"{row['width']} × {row['height']}",
        "Stored as": row["mode"],
        "Gray values": _limits(row),
        "Bytes": f"{row['bytes']:,}",
        "Brightness": f"{row['brightness']:.1f} of 255",
        "Patient": row["group"],
        "True pose": row["pose"],
        "SHA-256": f"{row['sha256'][:16]}…",
    }
    with right:
        for name, value in metadata.items():
            if value:
                st.caption(name)
                st.text(value)
