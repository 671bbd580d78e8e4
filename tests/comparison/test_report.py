"""What the report of a comparison says of its generated images."""

import re

import numpy as np
from sets import synthetic_set
from test_grid import finished

from rebalance_core.comparison.results import read_results
from rebalance_core.datasets.dataset import Dataset
from rebalance_core.imaging.grid import png_bytes
from rebalance_core.system.files import write_bytes
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.load import load_part
from rebalance_core.training_sets.resolve import make_set
from rebalance_core.workspace import Workspace


def test_near_copies_and_the_leak_are_stated(workspace: Workspace, phantom: Dataset) -> None:
    """Four of the ten generated images of one class are mirrored training images."""
    rare = make_set(workspace, "rare", SetConfig(dataset="phantom", skew="step:10"))
    name = synthetic_set(workspace, "ddpm", "rare")
    part = load_part(phantom, rare, "train", 32)
    label = rare.minority[0]
    real = part.images[part.labels == rare.class_index(label)]
    for k in range(4):
        mirrored = np.ascontiguousarray(real[k % len(real), :, ::-1])
        write_bytes(workspace.synthetic / name / label / f"{k:06d}.png", png_bytes(mirrored))
    run = finished(workspace, set="rare", arms=("none", "ddpm"), synthetic={"ddpm": name})
    page = (run / "result" / "report.html").read_text()
    section = page.split(f"<h3>{name}: near-copies</h3>")[1].split("</table>")[0]
    rows = [re.findall(r"<td>(.*?)</td>", line) for line in re.findall("<tr>.*?</tr>", section)]
    assert rows[1:] == [[c, "10", "4" if c == label else "0"] for c in rare.minority]
    assert "This set was not scored." in page
    findings = read_results(workspace, run)
    assert findings is not None
    assert "No test image is a copy of a training or validation image (a difference" in page
    assert any(note.startswith("No test image is a copy") for note in findings.notes)
