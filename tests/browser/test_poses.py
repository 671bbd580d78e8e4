"""The Poses page as a person uses it: elbow, k, lasso, names, undo, training set."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect
from slow_line import Line
from studio import LONG, Server, fill, settled, unfold, visit

from rebalance_core.datasets.dataset import Dataset, open_dataset
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.poses.clustering import cluster_poses, open_clustering
from rebalance_core.poses.config import PosesConfig
from rebalance_core.runs.executor import list_runs
from rebalance_core.runs.run import MemoryRun
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.resolve import make_set, open_set
from rebalance_core.workspace import Workspace

# What lies in a polygon by the plot's own axes: ids, corners on the screen, and how many pixels the
# point nearest to its border is away from that.
WITHIN = """
([plot, corners]) => {
    const gd = plot.querySelector('.js-plotly-plot'), box = gd.getBoundingClientRect();
    const {xaxis, yaxis} = gd._fullLayout;
    const left = box.left + xaxis._offset, top = box.top + yaxis._offset;
    const polygon = corners.map(([x, y]) => [left + x * xaxis._length, top + y * yaxis._length]);
    const edges = polygon.map((a, i) => [a, polygon[(i + 1) % polygon.length]]);
    const inside = (x, y) => edges.reduce((odd, [[x1, y1], [x2, y2]]) =>
        (y1 > y) !== (y2 > y) && x < (x2 - x1) * (y - y1) / (y2 - y1) + x1 ? !odd : odd, false);
    const away = (x, y) => Math.min(...edges.map(([[x1, y1], [x2, y2]]) => {
        const share = ((x - x1) * (x2 - x1) + (y - y1) * (y2 - y1))
            / ((x2 - x1) ** 2 + (y2 - y1) ** 2);
        const t = Math.max(0, Math.min(1, share));
        return Math.hypot(x - x1 - t * (x2 - x1), y - y1 - t * (y2 - y1));
    }));
    const ids = [];
    let nearest = Infinity;
    for (const trace of gd._fullData) trace.x.forEach((value, i) => {
        const x = left + xaxis.d2p(value), y = top + yaxis.d2p(trace.y[i]);
        if (inside(x, y)) ids.push(trace.customdata[i][0]);
        nearest = Math.min(nearest, away(x, y));
    });
    return [ids, polygon, nearest];
}
"""
CLEAR = 4  # px between the lasso and the nearest point, so that rounding decides nothing


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a phantom; copied, never written to."""
    home = tmp_path_factory.mktemp("plain") / "home"
    config = ImportConfig(name="p", source="phantom", count=200, size=64)
    import_dataset(Workspace(home), config, MemoryRun())
    return home


@pytest.fixture(scope="module")
def judged(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, clustered."""
    home = Path(shutil.copytree(plain, tmp_path_factory.mktemp("judged") / "home"))
    cluster_poses(open_dataset(Workspace(home), "p"), PosesConfig(dataset="p"), MemoryRun())
    return home


@pytest.fixture
def dataset(plain: Path, home: Path) -> Dataset:
    shutil.copytree(plain, home)
    return open_dataset(Workspace(home), "p")


@pytest.fixture
def clustered(judged: Path, home: Path) -> Dataset:
    shutil.copytree(judged, home, symlinks=True)  # the current version is a link
    return open_dataset(Workspace(home), "p")


def opened(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/poses?dataset=p")
    expect(page.get_by_role("heading", name="Poses", exact=True)).to_be_visible()
    settled(page)


def lasso(page: Page, plot: Locator, fewest: int, most: int) -> list[str]:
    """Draw a concave lasso around some points that leaves the others clear; the ids within."""
    plot.scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    shape = np.array([(0, 0), (0.5, 0.02), (0.32, 0.4), (0.45, 0.75), (0.05, 0.7)])
    shifts = (
        (x, y, s)
        for s in (1, 0.8, 0.6)
        for x in np.arange(0, 0.5, 0.05)
        for y in np.arange(0.02, 0.3, 0.05)
    )
    for x, y, scale in shifts:
        corners = (shape * scale + [x, y]).tolist()
        ids, polygon, nearest = page.evaluate(WITHIN, [plot.element_handle(), corners])
        if nearest > CLEAR and fewest <= len(ids) <= most:
            break
    else:
        raise AssertionError("no place for a lasso that leaves the points clear")
    page.mouse.move(*polygon[0])
    page.mouse.down()
    for corner in [*polygon[1:], polygon[0]]:
        page.mouse.move(*corner, steps=8)
    page.mouse.up()
    settled(page)
    found: list[str] = ids
    return found


def move_slider(page: Page, label: str, steps: int) -> None:
    thumb = page.get_by_role("slider", name=label)
    expect(thumb).to_be_enabled()
    thumb.focus()
    for _ in range(abs(steps)):
        page.keyboard.press("ArrowRight" if steps > 0 else "ArrowLeft")


def shows_k(page: Page, k: int) -> None:
    text = page.get_by_text(re.compile(rf"^k = {k} in every class"))
    expect(text.first).to_be_visible(timeout=LONG)  # it may be a run in a process of its own
    settled(page)


def test_clustering_from_the_page(page: Page, server: Server, dataset: Dataset) -> None:
    opened(page, server)
    expect(page.get_by_text("Not clustered yet")).to_be_visible()
    expect(page.get_by_text("VGG-16's weights are not on this machine").first).to_be_visible()
    page.get_by_role("button", name="Cluster by pose").click()
    shows_k(page, 3)
    for heading in ("Elbow", "Clusters", "First components", "Names"):
        expect(page.get_by_role("heading", name=heading)).to_be_visible()
    expect(page.locator(".js-plotly-plot")).to_have_count(4)
    expect(
        page.get_by_text("100.0% of the images of one true pose have the same name")
    ).to_be_visible()


def test_the_slider_clusters_anew_and_undo_takes_it_back(
    page: Page, server: Server, clustered: Dataset, home: Path
) -> None:
    opened(page, server)
    shows_k(page, 3)
    page.get_by_text("Manual k", exact=True).click()
    settled(page)
    move_slider(page, "Clusters k in every class", 1)
    shows_k(page, 4)
    assert list_runs(Workspace(home)) == [], "from kept points, without a run"
    assert open_clustering(clustered).record.ks == dict.fromkeys(clustered.classes, 4)
    page.get_by_role("button", name="Undo").click()
    shows_k(page, 3)
    page.reload()
    shows_k(page, 3)


def test_a_second_press_on_the_slider_is_not_lost(
    page: Page, server: Server, clustered: Dataset
) -> None:
    """It is made before the browser received what the first one led to."""
    line = Line(page)
    opened(page, server)
    shows_k(page, 3)
    slider = page.get_by_role("slider", name="Clusters k in every class")
    page.get_by_text("Manual k", exact=True).click()
    expect(slider).to_be_enabled()
    settled(page)
    line.slow = True
    move_slider(page, "Clusters k in every class", 1)
    line.until(lambda: open_clustering(clustered).record.k == 4, "the first had no effect")
    page.wait_for_timeout(1500)  # for the server to draw the page
    page.keyboard.press("ArrowRight")
    line.until(lambda: open_clustering(clustered).record.k == 5, "the second had no effect")
    line.release()
    shows_k(page, 5)
    page.get_by_role("button", name="Undo").click()
    shows_k(page, 4)
    expect(slider).to_have_value("4")


def test_a_lasso_shows_exactly_the_images_within(
    page: Page, server: Server, clustered: Dataset
) -> None:
    opened(page, server)
    plot = page.get_by_test_id("stPlotlyChart").last
    expected = lasso(page, plot, 10, 150)
    expect(page.get_by_text(f"{len(expected)} images selected")).to_be_visible()
    unfold(page, "Names of the selected images")
    listed = page.get_by_test_id("stExpander").get_by_test_id("stText")
    expect(listed).to_contain_text(".png")
    assert sorted(listed.inner_text().split()) == sorted(expected)

    page.get_by_role("button", name=f"Move {len(expected)} images").click()
    settled(page)
    expect(
        page.get_by_text(f"Manual corrections: {len(expected)} image(s) moved to")
    ).to_be_visible()
    table = open_clustering(clustered).assignments.set_index("image")
    assert set(table.loc[expected, "pose"]) == {"pose 1"}


def test_names_are_kept_and_asked_for_before_they_go(
    page: Page, server: Server, clustered: Dataset
) -> None:
    opened(page, server)
    fill(page, "New name", "axial")
    page.get_by_role("button", name="Rename").click()
    expect(page.get_by_text("Manual corrections: pose 1 renamed to axial.")).to_be_visible()
    expect(page.get_by_test_id("stToast")).to_contain_text("Renamed pose 1 to axial.")
    page.reload()
    expect(page.get_by_text(re.compile("^axial")).first).to_be_visible()
    settled(page)
    expect(page.get_by_role("button", name="Cluster by pose")).to_be_disabled()
    page.get_by_text("Manual k", exact=True).click()
    settled(page)
    expect(page.get_by_text("Another k discards")).to_have_count(0)
    move_slider(page, "Clusters k in every class", -1)
    expect(page.get_by_text("Another k discards 1 manual correction(s)")).to_be_visible()
    assert "axial" in open_clustering(clustered).poses
    page.get_by_role("button", name="Cluster again anyway").click()
    expect(page.get_by_text("Manual corrections")).to_have_count(0)
    settled(page)
    assert open_clustering(clustered).poses == ["pose 1", "pose 2"]


def test_chosen_poses_become_a_training_set_that_generators_offer(
    page: Page, server: Server, clustered: Dataset, home: Path
) -> None:
    full = make_set(Workspace(home), "full", SetConfig(dataset="p", skew="step:2"))
    opened(page, server)
    pills = page.get_by_test_id("stButtonGroup").filter(has_text="Poses to keep in training")
    pills.get_by_text("pose 2", exact=True).click()
    settled(page)
    expect(page.get_by_label("Name of the training set")).to_have_value("p-pose 2")
    page.get_by_role("button", name="Save training set").click()
    expect(page.get_by_text("Saved p-pose 2")).to_be_visible()
    made = open_set(Workspace(home), "p-pose 2")
    poses = open_clustering(clustered).assignments.set_index("image")["pose"]
    assert set(poses[[*made.train, *made.validation]]) == {"pose 2"}
    page.get_by_role("combobox", name="From", exact=True).click()
    page.get_by_role("option", name="full").click()
    expect(page.get_by_label("Name of the training set")).to_have_value("full-pose 2")
    expect(page.get_by_label("Skew", exact=True)).to_be_disabled()
    settled(page)
    page.get_by_role("button", name="Save training set").click()
    expect(page.get_by_text("Saved full-pose 2")).to_be_visible()
    subset = open_set(Workspace(home), "full-pose 2")
    assert set(subset.train) == {image for image in full.train if poses[image] == "pose 2"}
    visit(page, "Generators")
    page.get_by_role("combobox", name="Training set").click()
    expect(page.get_by_role("option", name="p-pose 2")).to_be_visible()


def test_missing_weights_offer_a_download_and_a_local_file(
    page: Page, server: Server, dataset: Dataset, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.pth"
    wrong.write_bytes(b"no weights")
    opened(page, server)
    page.get_by_text("VGG-16", exact=True).click()
    expect(page.get_by_role("button", name="Download VGG-16's weights (528 MB)")).to_be_enabled()
    expect(page.get_by_role("button", name="Cluster by pose")).to_be_disabled()
    field: Any = page.get_by_label("… or the path of a local file")
    field.fill(str(wrong))
    field.press("Enter")
    page.get_by_role("button", name="Use wrong.pth").click()
    refused = page.get_by_text("pass torchvision's VGG-16 weights")
    expect(refused).to_be_visible(timeout=60_000)


def test_a_picture_can_be_clicked_and_put_right(
    page: Page, server: Server, clustered: Dataset
) -> None:
    opened(page, server)
    page.get_by_text("Show outliers").click()
    settled(page)
    outlier = open_clustering(clustered).nearest("glioma", "pose 2", 1, farthest=True)[0]
    page.get_by_role("button", name=outlier).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text(outlier)).to_be_visible()
    expect(dialog.get_by_role("img").first).to_be_visible()
    dialog.get_by_role("combobox", name="Pose to move it to").click()
    page.get_by_role("option", name="pose 3").click()
    dialog.get_by_role("button", name="Move this image").click()
    expect(page.get_by_text("Manual corrections: 1 image(s) moved to pose 3.")).to_be_visible()
    poses = open_clustering(clustered).assignments.set_index("image")["pose"]
    assert poses[outlier] == "pose 3"
