"""The Generators page as a person uses it: train, watch, cancel, resume, load, sample, morph."""

import re
import shutil
from pathlib import Path

from playwright.sync_api import Locator, Page, expect
from studio import (
    LONG,
    Server,
    begun,
    fill,
    held_at,
    last_step,
    settled,
    status,
    train_quick,
    unfold,
    until,
    visit,
)

from rebalance_core.runs.executor import list_runs
from rebalance_core.synthesis.synthetic_set import open_synthetic
from rebalance_core.workspace import Workspace


def picture(page: Page, name: str) -> Locator:
    """The preview's picture; another picture, another place that the browser has it from."""
    return page.get_by_test_id("stImage").filter(has_text=name).get_by_role("img").first


def test_train_cancel_resume_load_sample_and_morph(
    page: Page, server: Server, tiny: Workspace, tmp_path: Path
) -> None:
    page.goto(f"{server.url}/generators?set=p")
    expect(page.get_by_text("Time: about")).to_be_visible()
    expect(page.get_by_text(re.compile(r"Disk: \d+ MB of"))).to_be_visible()
    train_quick(page, autoencoder_steps=30, steps=200, batch_size=16)

    # the curves and the pictures move; cancelling keeps what was learned
    last = page.get_by_text(re.compile(r"^Last step \d+$")).first
    shown = picture(page, "samples, step")
    run = begun(tiny, "train")
    with held_at(run, lambda line: line["step"] >= 60):
        expect(last).to_be_visible(timeout=LONG)
        early = last_step(page)
        expect(shown).to_be_visible(timeout=LONG)
        before = str(shown.get_attribute("src"))
        expect(page.get_by_text(re.compile("^reconstructions, step 30")).first).to_be_visible()
    with held_at(run, lambda line: line["step"] >= 120):
        until(lambda: last_step(page) > early, last.inner_text)
        expect(shown).not_to_have_attribute("src", before, timeout=LONG)
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_text("stopping, saving a checkpoint")).to_be_visible()
    status(page, "cancelled")
    stopped = last_step(page)
    assert 30 < stopped < 230
    # resuming goes on from where it was
    page.get_by_role("button", name="Resume").click()
    status(page, "done")
    expect(page.get_by_text("Last step 230", exact=True)).to_be_visible()
    page.reload()
    status(page, "done")

    # look back in time
    thumb = page.get_by_role("slider", name="samples: step")
    thumb.focus()
    now = str(shown.get_attribute("src"))
    page.keyboard.press("Home")
    expect(page.get_by_text("samples, step 50")).to_be_visible()
    expect(shown).not_to_have_attribute("src", now)

    # take the same generator from a folder
    made = next(v for v in list_runs(tiny, "train"))
    folder = tmp_path / "model"
    shutil.copytree(made.path / "result" / "generator", folder)
    page.get_by_role("tab", name="Load a trained generator").click()
    fill(page, "Folder of a trained generator", str(tmp_path / "nothing"))
    page.get_by_role("button", name="Load", exact=True).click()
    expect(page.get_by_text("is not a folder; choose the one with config.json")).to_be_visible()
    fill(page, "Folder of a trained generator", str(folder))
    page.get_by_role("button", name="Load", exact=True).click()
    expect(page.get_by_text(f"Loaded from {folder}.")).to_be_visible(timeout=LONG)
    status(page, "done")

    # sample two classes of it, near the middle
    visit(page, "Samples")
    fill(page, "Images per class", "12")
    fill(page, "Truncation", "0.8")
    pills = page.get_by_test_id("stButtonGroup").filter(has_text="Classes")
    for label in ("glioma", "pituitary"):
        pills.get_by_text(label, exact=True).click()
        settled(page)
    page.get_by_role("button", name="Generate", exact=True).click()
    expect(page.get_by_text("bagan-gp trained on p").first).to_be_visible(timeout=LONG)
    found = open_synthetic(tiny, "p-bagan-gp")
    assert found.counts == {"glioma": 12, "pituitary": 12}
    assert found.provenance.sampler == {"truncation": 0.8}

    # the way from one class to the other
    morph = unfold(page, "Interpolate classes")
    page.get_by_role("button", name="Show", exact=True).click()
    thumb = page.get_by_role("slider", name="From glioma to meningioma")
    expect(thumb).to_be_visible(timeout=LONG)
    settled(page)
    start = morph.get_by_role("img").first.get_attribute("src")
    thumb.focus()
    page.keyboard.press("End")
    expect(morph.get_by_role("img").first).not_to_have_attribute("src", str(start))


def test_a_finished_training_goes_on_for_more_steps(
    page: Page, server: Server, tiny: Workspace
) -> None:
    page.goto(f"{server.url}/generators?set=p")
    train_quick(page, autoencoder_steps=3, steps=3, batch_size=8)
    status(page, "done")
    unfold(page, "Continue for more epochs, or with another")
    expect(page.get_by_label("total steps")).to_have_value("6")
    page.get_by_role("button", name="Continue training").click()
    expect(page.get_by_text("Continues from run")).to_be_visible(timeout=LONG)
    status(page, "done")
    expect(page.get_by_text("Last step 9", exact=True)).to_be_visible()
