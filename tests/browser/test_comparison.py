"""The Comparison page as a person uses it: a grid, its curves, cancel, resume, answer, report."""

import re
from pathlib import Path

from playwright.sync_api import Browser, Page, expect
from studio import LONG, Server, begun, fill, held_at, last_step, settled, status, until

from rebalance_core.datasets.dataset import open_dataset
from rebalance_core.workspace import Workspace

# The centre of a confusion plot's cell in the window, from the predicted and the true class.
CENTRE = """(plot, [predicted, truth]) => {
  const layout = plot._fullLayout, box = plot.getBoundingClientRect();
  return [box.x + layout.xaxis._offset + layout.xaxis.d2p(predicted),
          box.y + layout.yaxis._offset + layout.yaxis.d2p(truth)];
}"""


def add_arm(page: Page, name: str) -> None:
    arms = page.get_by_role("combobox", name="Arms")
    arms.fill(name)
    arms.press("Enter")
    expect(page.get_by_test_id("stMultiSelect").filter(has_text="Arms")).to_contain_text(name)
    page.keyboard.press("Escape")
    settled(page)


def test_a_grid_from_its_start_to_its_report(
    browser: Browser, page: Page, server: Server, tiny: Workspace, tmp_path: Path
) -> None:
    page.goto(f"{server.url}/comparison?set=p")
    expect(page.get_by_text("There are no generated images for this training set")).to_be_visible()
    # arms: the proposed ones, of which two are kept, and two things at once
    chosen = page.get_by_test_id("stMultiSelect").filter(has_text="Arms")
    for proposed in ("none", "oversample", "logit-adjusted-after", "placebo"):
        expect(chosen).to_contain_text(proposed)
    expect(page.get_by_text(re.compile("^Not proposed: Arm returned:1 "))).to_be_visible()
    for removed in ("placebo", "logit-adjusted-after", "augment+oversample"):
        page.get_by_role("combobox", name="Arms").press("Backspace")
        expect(chosen).not_to_contain_text(removed)
        settled(page)
    add_arm(page, "focal+augment")
    fill(page, "Seeds", "2")
    expect(page.get_by_text("6 classifiers of 8 epochs at 32 px")).to_be_visible()
    # how long it will take
    page.get_by_role("button", name="Time a few steps").click()
    expect(page.get_by_text(re.compile(r"32 px: about \d+ (s|min) on this machine"))).to_be_visible(
        timeout=LONG
    )
    page.get_by_role("button", name="Compare", exact=True).click()

    # two arms' curves grow; cancelling keeps what was finished
    shown = page.get_by_text(re.compile(r"^Last step \d+$")).first
    run = begun(tiny, "compare")
    with held_at(run, lambda line: line["step"] > 0):
        expect(shown).to_be_visible(timeout=LONG)
        early = last_step(page)
    with held_at(run, lambda line: line.get("arm") == "oversample"):
        until(lambda: last_step(page) > early, shown.inner_text)
        legend = page.locator(".js-plotly-plot .legendtext")
        expect(legend.filter(has_text="oversample")).to_be_visible(timeout=LONG)
        expect(legend.filter(has_text=re.compile("^none$"))).to_be_visible()
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_text("stopping, saving a checkpoint")).to_be_visible()
    status(page, "cancelled")
    stopped = last_step(page)
    assert 8 < stopped < 48
    page.get_by_role("button", name="Resume").click()
    status(page, "done")
    expect(page.get_by_text("Last step 48")).to_be_visible()
    expect(page.get_by_text("6 of 6 classifiers are finished")).to_be_visible()

    # read the sentence
    answer = page.get_by_test_id("stAlert").filter(has_text="2 seeds (skew fixed)")
    expect(answer).to_contain_text(re.compile("macro-F1 .* points"))
    sentence = answer.inner_text().strip()

    # the table, the confusions, the pictures on which two arms differ
    expect(page.get_by_test_id("stDataFrame")).to_be_visible()
    expect(page.get_by_text("Test images over all seeds")).to_be_visible()
    matrix = page.get_by_role("tabpanel").locator(".js-plotly-plot").first
    matrix.evaluate("plot => plot.scrollIntoView({block: 'center'})")
    page.wait_for_timeout(500)
    page.mouse.click(*matrix.evaluate(CENTRE, ["notumor", "notumor"]))
    opened = re.compile(r"none: \d+ images of notumor that a seed predicted as notumor")
    expect(page.get_by_text(opened)).to_be_visible()
    page.get_by_role("tab", name="Where two arms differ").click()
    differ = re.compile(r"Right with oversample, wrong with none: \d+ of 30")
    expect(page.get_by_text(differ)).to_be_visible()

    # show the kept classifier an image
    page.get_by_role("tab", name="Classifier").click()
    expect(page.get_by_text("Best classifier on validation of those trained here")).to_be_visible()
    dataset = open_dataset(tiny, "p")
    image = tmp_path / "a scan.png"
    image.write_bytes(dataset.read_original(dataset.catalogue["image"].iloc[0]))
    page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(image)
    page.get_by_role("button", name="Classify").click()
    said = re.compile(r"^a scan\.png: (glioma|meningioma|notumor|pituitary)$")
    expect(page.get_by_text(said)).to_be_visible(timeout=LONG)

    # the report opens without the server
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the report").click()
    report = tmp_path / "report.html"
    download.value.save_as(report)
    server.stop()
    context = browser.new_context(offline=True)
    asked: list[str] = []
    alone = context.new_page()
    alone.on("request", lambda request: asked.append(request.url))
    alone.goto(report.as_uri())
    expect(alone.get_by_text(sentence.splitlines()[-1]).first).to_be_visible()
    expect(alone.locator(".js-plotly-plot .main-svg").first).to_be_visible()
    expect(alone.get_by_role("cell", name="augment+focal").first).to_be_visible()
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    context.close()
