"""Brightness and image formats as shortcuts, against scikit-learn and by hand."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score
from sources import import_source, unpack

from rebalance_core.datasets.health import brightness_statistics, examine, format_statistics
from rebalance_core.imaging.grid import png_bytes
from rebalance_core.workspace import Workspace


def flat(value: int, shape: tuple[int, ...] = (8, 8)) -> bytes:
    return png_bytes(np.full(shape, value, np.uint8))


def test_brightness_by_class_is_that_of_scikit_learn(workspace: Workspace, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    levels = {
        "dark": rng.integers(0, 120, 30),
        "light": rng.integers(90, 250, 20),
        "any": rng.integers(0, 255, 40),
        "even": np.array([7, 7, 7, 100]),
    }
    files = {f"{c}/{k}.png": flat(v) for c, all_ in levels.items() for k, v in enumerate(all_)}
    table = brightness_statistics(import_source(workspace, unpack(tmp_path / "source", files)))
    assert list(table.index) == ["any", "dark", "even", "light"]
    every = np.concatenate([levels[c] for c in table.index])
    labels = np.repeat(table.index, [len(levels[c]) for c in table.index])
    for label, values in levels.items():
        row = table.loc[label]
        area = roc_auc_score(labels == label, every)
        assert row["auc"] == pytest.approx(max(area, 1 - area), abs=1e-12)
        quartiles = [row[q] for q in ("least", "q1", "median", "q3", "most")]
        assert quartiles == pytest.approx(np.quantile(values, [0, 0.25, 0.5, 0.75, 1]))
    assert table["auc"].min() >= 0.5


def test_brightness_that_separates_classes_completely_or_not(
    workspace: Workspace, tmp_path: Path
) -> None:
    apart = {"a/0.png": 10, "a/1.png": 20, "b/0.png": 30, "b/1.png": 40}
    alike = {"a/0.png": 10, "a/1.png": 20, "b/0.png": 10, "b/1.png": 20}
    for name, values, auc in (("apart", apart, 1.0), ("alike", alike, 0.5)):
        files = {image: flat(value) for image, value in values.items()}
        table = brightness_statistics(
            import_source(workspace, unpack(tmp_path / name, files), name)
        )
        assert table["auc"].tolist() == [auc, auc]


def test_sizes_and_modes_are_reported_by_class(workspace: Workspace, tmp_path: Path) -> None:
    files = {
        "a/0.png": flat(1),
        "a/1.png": flat(2),
        "a/2.png": flat(3),
        "a/3.png": flat(4, (8, 9)),
        "b/0.png": flat(5, (10, 8, 3)),
        "b/1.png": flat(6, (10, 8)),
    }
    source = unpack(tmp_path / "source", files)
    Image.new("P", (8, 10)).save(source / "b" / "2.png")
    table = format_statistics(import_source(workspace, source))
    assert table.to_dict("index") == {
        "a": {
            "images": 4,
            "most frequent size": "8×8",
            "share of it": 0.75,
            "mode L": 1.0,
            "mode P": 0.0,
            "mode RGB": 0.0,
        },
        "b": {
            "images": 3,
            "most frequent size": "8×10",
            "share of it": 1.0,
            "mode L": pytest.approx(1 / 3),
            "mode P": pytest.approx(1 / 3),
            "mode RGB": pytest.approx(1 / 3),
        },
    }


def test_patients_on_both_sides_of_a_split_are_found(workspace: Workspace, tmp_path: Path) -> None:
    lines = ["path,label,split,patient"]
    rows = [
        ("train", "p1"),
        ("train", "p2"),
        ("test", "p1"),
        ("test", ""),
        ("train", ""),
        ("val", "p3"),
        ("test", "p3"),
        ("train", "p2"),
    ]
    rng = np.random.default_rng(0)
    for k, (split, patient) in enumerate(rows):
        pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
        (tmp_path / f"{k}.png").write_bytes(png_bytes(pixels))
        lines.append(f"{k}.png,{'ab'[k % 2]},{split},{patient}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    table = {f.name: f for f in examine(import_source(workspace, tmp_path / "t.csv"))}
    assert table["patients-across"].groups == ((0, 2), (5, 6))
    assert table["identical"].groups == ()
