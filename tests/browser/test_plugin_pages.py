"""A generator plugin of one file on every page that a built-in generator has."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from studio import LONG, Server, fill, settled, start_server, status, train_quick, visit

from rebalance_core.workspace import Workspace

sys.path.append(str(Path(__file__).parents[1] / "generators"))
from plugins import install


@pytest.fixture
def server(tiny: Workspace, tmp_path: Path) -> Iterator[Server]:
    """The app with the plugin installed for the server and for its workers."""
    site = install(tmp_path / "site")
    started = start_server(tiny.root, tmp_path / "server.log", python_path=site)
    yield started
    started.stop()
    assert "Traceback" not in started.log.read_text(), started.log.read_text()


def test_a_plugin_is_trained_sampled_shown_and_removed(page: Page, server: Server) -> None:
    # Generators: title, fields, caption, estimate
    page.goto(f"{server.url}/generators?set=p")
    page.get_by_text("PCA of pixels", exact=True).click()
    settled(page)
    minority = "glioma, meningioma, pituitary"
    expect(page.get_by_text(f"Fits a Gaussian to each of {minority}, in seconds.")).to_be_visible()
    expect(page.get_by_label("size", exact=True)).to_have_value("32")
    expect(page.get_by_label("components", exact=True)).to_have_value("8")
    expect(page.get_by_text("Time: about")).to_be_visible()
    expect(page.get_by_text(re.compile(r"Disk: \d+ MB of"))).to_be_visible()

    # train it; its curve and its previews are described by its spec
    train_quick(page, "PCA of pixels", components=4)
    status(page, "done")
    expect(page.get_by_text("Last step 3", exact=True)).to_be_visible()
    expect(page.locator(".js-plotly-plot").first).to_contain_text("explained variance")
    expect(page.get_by_text("the class mean, then one standard")).to_have_count(3)

    # sample it with its own option
    visit(page, "Samples")
    expect(page.get_by_role("combobox", name="Generator")).to_have_value(re.compile("^pca on p"))
    fill(page, "Images per class", "12")
    fill(page, "Spread", "0.5")
    page.get_by_role("button", name="Generate", exact=True).click()
    expect(page.get_by_text("pca trained on p").first).to_be_visible(timeout=LONG)
    page.get_by_role("button", name="generated 3").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("img")).to_have_count(2)
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)

    # its images can be compared
    visit(page, "Comparison")
    page.get_by_role("combobox", name="Arms").fill("pca")  # the list shows a part of its options
    expect(page.get_by_role("option", name="pca", exact=True)).to_be_visible()
    for _ in range(2):  # clear the text, close the list
        page.keyboard.press("Escape")
    expect(page.get_by_role("option")).to_have_count(0)
    settled(page)

    # remove it; the confirmation names the sampling run and the synthetic set
    visit(page, "Runs")
    page.get_by_role("combobox", name="Run").click()
    page.get_by_role("option").filter(has_text="pca on p").click()
    settled(page)
    page.get_by_test_id("stButtonGroup").get_by_text("Remove", exact=True).click()
    settled(page)
    expect(page.get_by_text("1 run; synthetic sets p-pca")).to_be_visible()
    for label in ("Also remove the dependents", "Yes, remove this run"):
        page.get_by_text(label, exact=True).click()
        settled(page)
    page.get_by_role("button", name="Remove", exact=True).click()
    expect(page.get_by_test_id("stToast").last).to_contain_text("Removed run pca on p")
    expect(page.get_by_text("No runs yet.")).to_be_visible()
    visit(page, "Samples")
    expect(page.get_by_text("There is no trained generator yet")).to_be_visible()
    expect(page.get_by_role("combobox", name="Synthetic set")).to_have_count(0)
