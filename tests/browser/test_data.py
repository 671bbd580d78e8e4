"""The Data page in a browser: upload, findings, images, skew, reload."""

import io
import json
import re
import zipfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, Page, expect
from studio import Server, settled, until, visit

from rebalance_core.datasets.phantom import CLASSES, make_phantom
from rebalance_core.imaging.grid import png_bytes

LONG = 60_000  # ms an import of 240 images may take here
FOLDERS = {"train": "Training", "test": "Testing"}


def files() -> dict[str, bytes]:
    """240 phantoms in Kaggle's layout, with two byte-identical copies of one image (one of them
    tested), a brighter copy of another, and a file that is no image."""
    batch = make_phantom(240, size=64, seed=3)
    made = {
        f"{FOLDERS[split]}/{CLASSES[label]}/p{i:03d}.png": png_bytes(image)
        for i, (image, label, split) in enumerate(
            zip(batch.images, batch.labels, batch.split, strict=True)
        )
    }
    first = next(n for n in made if n.startswith("Training/notumor"))
    second = [n for n in made if n.startswith("Training/glioma")][1]
    made["Training/notumor/copy.png"] = made[first]
    made["Testing/notumor/copy.png"] = made[first]
    with Image.open(io.BytesIO(made[second])) as image:
        brighter = image.point(lambda value: min(255, round(1.1 * value)))
    buffer = io.BytesIO()
    brighter.save(buffer, "PNG")
    made["Training/glioma/brighter.png"] = buffer.getvalue()
    made["Training/glioma/notes.jpg"] = b"no image"
    return made


def slider(page: Page, label: str) -> Locator:
    return page.get_by_role("slider", name=label)


def bars(page: Page) -> dict[str, list[int]]:
    """{name: counts} that the plot before and after shows; {} while it is not drawn."""
    found: str = page.evaluate(
        """() => JSON.stringify([...document.querySelectorAll('.js-plotly-plot')]
            .map(plot => plot.data).filter(data => data[0] && data[0].name === 'before')
            .map(data => data.map(trace => [trace.name, trace.text.map(Number)])))"""
    )
    plots = json.loads(found)
    return dict(plots[0]) if len(plots) == 1 else {}


def fewest(page: Page) -> int:
    """Images of the smallest class after the skew; 0 while the plot is not drawn."""
    return min(bars(page).get("after", [0]))


def test_drop_look_skew_and_reload(page: Page, server: Server, tmp_path: Path) -> None:
    packed = tmp_path / "planted.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in files().items():
            archive.writestr(name, data)

    # drop a zip
    page.goto(server.url)
    visit(page, "Data")
    page.get_by_role("tab", name="Upload files").click()
    page.get_by_role("tabpanel", name="Upload files").locator("input[type=file]").set_input_files(
        packed
    )
    settled(page)
    panel = page.get_by_role("tabpanel", name="Upload files")
    expect(panel.get_by_label("Name", exact=True)).to_have_value("planted")
    panel.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_role("heading", name="Health")).to_be_visible(timeout=LONG)
    settled(page)

    # see the findings
    expect(page.get_by_text("243", exact=True).first).to_be_visible()
    expect(page.get_by_text("1 files could not be read and were left out")).to_be_visible()
    expect(page.get_by_text("1 groups, 3 images, the largest of 3").first).to_be_visible()

    # only images of the finding
    box = page.get_by_role("combobox", name="Finding")
    box.scroll_into_view_if_needed()
    page.wait_for_timeout(500)  # a list that is open closes while the page still scrolls
    box.click()
    page.get_by_role("option").filter(has_text=re.compile("^Near-duplicates$")).click()
    expect(page.get_by_text("5 images. Click one to enlarge it.")).to_be_visible()
    settled(page)

    # open a duplicate group: the three copies side by side, one of them enlarged
    page.get_by_role("button", name="View", exact=True).first.click()
    group = page.locator("section", has=page.get_by_text("3 images", exact=True))
    expect(group.get_by_role("button")).to_have_count(3)
    settled(page)
    group.get_by_role("button", name="Testing/notumor/copy.png").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("Testing/notumor/copy.png")).to_be_visible()
    expect(dialog.get_by_text("64 × 64")).to_be_visible()
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_have_count(0)
    settled(page)

    # the clean split leaves the tested copy's twins out of training
    settled(page)
    until(lambda: fewest(page) > 0, lambda: bars(page))
    whole = bars(page)["after"]
    page.get_by_text("clean", exact=True).click()
    expect(page.get_by_text("The split excludes").first).to_contain_text("2 of train")
    settled(page)
    until(lambda: 0 < sum(bars(page).get("after", [])) < sum(whole), lambda: bars(page))

    # impose ρ = 20: the bars change, the slider is kept over a reload
    page.get_by_text("step", exact=True).click()
    handle = slider(page, "Ratio ρ")
    expect(handle).to_have_value("10")
    settled(page)
    most = max(bars(page)["before"])
    until(lambda: fewest(page) == round(most / 10), lambda: bars(page))
    ten = bars(page)
    for _ in range(10):
        handle.press("ArrowRight")
    expect(page).to_have_url(re.compile("rho=20"))
    settled(page)
    until(lambda: fewest(page) == round(most / 20), lambda: bars(page))
    twenty = bars(page)
    assert twenty["before"] == ten["before"]
    page.reload()
    expect(page.get_by_role("heading", name="Create a training set")).to_be_visible(timeout=LONG)
    settled(page)
    expect(slider(page, "Ratio ρ")).to_have_value("20")
    until(lambda: bars(page) == twenty, lambda: bars(page))

    # saved, it is there with its split and skew
    page.get_by_role("button", name="Save training set").click()
    expect(page.get_by_text("Saved training sets")).to_be_visible()


def test_drop_a_folder(page: Page, server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "shapes"
    for name, data in files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    page.goto(server.url)
    visit(page, "Data")
    page.get_by_role("tab", name="Upload a folder").click()
    panel = page.get_by_role("tabpanel", name="Upload a folder")
    panel.locator("input[type=file]").set_input_files(folder)
    settled(page)
    expect(panel.get_by_label("Name", exact=True)).to_have_value("shapes")
    panel.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_role("heading", name="Health")).to_be_visible(timeout=LONG)
    expect(page.get_by_text("243", exact=True).first).to_be_visible()
