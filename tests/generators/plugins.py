"""The generator of tests/plugin, installed as a package would be."""

import os
from pathlib import Path

PLUGIN = Path(__file__).resolve().parents[1] / "plugin" / "rebalance_pca.py"


def install(folder: Path) -> str:
    """Copy the plugin's one file into `folder` and register its entry point; returns a PYTHONPATH
    with which Python finds it."""
    about = folder / "rebalance_pca-1.0.dist-info"
    about.mkdir(parents=True)
    (folder / PLUGIN.name).write_bytes(PLUGIN.read_bytes())
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: rebalance-pca\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[rebalance.generators]\npca = rebalance_pca:SPEC\n")
    return os.pathsep.join([str(Path(__file__).resolve().parents[2]), str(folder)])
