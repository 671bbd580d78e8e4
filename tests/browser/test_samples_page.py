"""The Samples page as a person uses it: look, side by side, throw away, score, quiz, take away."""

import re
import sys
import zipfile
from pathlib import Path

from playwright.sync_api import Page, expect
from studio import LONG, Server, settled, until

from rebalance_core.datasets.dataset import open_dataset
from rebalance_core.imaging.grid import png_bytes
from rebalance_core.synthesis.quiz import make_quiz, read_tally
from rebalance_core.synthesis.synthetic_set import list_synthetic, open_synthetic
from rebalance_core.system.files import write_bytes
from rebalance_core.training_sets.load import load_part
from rebalance_core.training_sets.resolve import open_set
from rebalance_core.workspace import Workspace

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from sets import synthetic_set


def go_to(page: Page, tab: str) -> None:
    page.get_by_role("tab", name=tab, exact=True).click()
    settled(page)


def test_look_throw_away_score_guess_and_take_away(
    page: Page, server: Server, tiny: Workspace, tmp_path: Path
) -> None:
    name, other = (synthetic_set(tiny, kind, "p") for kind in ("ddpm", "bagan-gp"))
    real = load_part(open_dataset(tiny, "p"), open_set(tiny, "p"), "train", 32)
    write_bytes(
        tiny.synthetic / name / "glioma" / "000002.png", png_bytes(real.images[real.labels == 0][0])
    )
    page.goto(f"{server.url}/samples?synthetic={name}")
    # a copy is flagged beneath the image it copies
    expect(page.get_by_text("1 flagged as a near-copy of a training image")).to_be_visible()
    flagged = page.get_by_role("button", name="nearest to 3")
    expect(flagged.get_by_text("0.0", exact=True)).to_be_visible()
    expect(flagged.get_by_text("⚠ copy")).to_be_visible()
    expect(page.get_by_text("⚠ copy")).to_have_count(1)
    # a click shows it large, beside the one that it copies
    page.get_by_role("button", name="generated 3").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("img")).to_have_count(2)
    expect(dialog.get_by_text("A near-copy of this training image.")).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)

    go_to(page, "Side by side")
    for title in ("original", f"ddpm ({name})", f"bagan-gp ({other})"):
        expect(page.get_by_text(title, exact=True)).to_be_visible()

    # throw one away, another by mistake, and make a set without the one
    go_to(page, "Curate")
    for image in ("000002", "000005", "000005"):
        page.get_by_role("button", name=f"glioma/{image}.png").click()
        settled(page)
    expect(page.get_by_text("✕ discarded")).to_have_count(1)
    page.get_by_role("button", name="Create a set without 1").click()
    submitted = f"Submitted: filter {name} to {name}-kept-1."
    expect(page.get_by_test_id("stToast").get_by_text(submitted)).to_be_visible()
    until(lambda: f"{name}-kept-1" in list_synthetic(tiny), lambda: list_synthetic(tiny))
    kept = open_synthetic(tiny, f"{name}-kept-1")
    assert [f.name for f in kept.files("glioma")] == [f"{k:06d}.png" for k in range(10) if k != 2]

    # what was taken out is shown
    page.goto(f"{server.url}/samples?synthetic={kept.name}")
    go_to(page, "Filters")
    expect(page.get_by_text("removed by hand: glioma 1")).to_be_visible()
    expect(page.get_by_role("button", name="glioma/000002.png")).to_be_visible()

    go_to(page, "Quality")
    page.get_by_role("button", name="Score", exact=True).click()
    expect(page.locator(".js-plotly-plot")).to_be_visible(timeout=LONG)
    expect(
        page.get_by_text("Features of a ResNet-18 trained on the real images of p")
    ).to_be_visible()

    # answer as an expert would who errs once
    go_to(page, "Real or generated?")
    truth = make_quiz(tiny, kept, 0).truth
    words = {"r": "real", "g": "fake"}
    for k, kind in enumerate(truth):
        told = words[kind] if k else words["g" if kind == "r" else "r"]
        group = page.get_by_test_id("stButtonGroup").nth(k)
        group.get_by_role("radio", name=told).click()
    settled(page)
    page.get_by_role("button", name="Submit", exact=True).click()
    expect(page.get_by_text("19 of 20 correct")).to_be_visible()
    tally = read_tally(tiny, kept.name)
    assert tally is not None and tally.attempts == 1

    go_to(page, "Export")
    page.get_by_role("button", name="Prepare the zip").click()
    with page.expect_download() as download:
        page.get_by_role("button", name=re.compile("^Download .* MB$")).click()
    file = tmp_path / "taken.zip"
    download.value.save_as(file)
    with zipfile.ZipFile(file) as archive:
        assert len(archive.namelist()) == 29 + 1
        assert f"{kept.name}/provenance.json" in archive.namelist()
