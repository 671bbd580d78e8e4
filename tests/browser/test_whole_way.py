"""The whole way as a person goes it, by what they see."""

import json
import re
import zipfile
from pathlib import Path

from playwright.sync_api import Page, expect
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
    until,
    visit,
    watch_step_grow,
)

from rebalance_core.workspace import Workspace


def pick(page: Page, label: str, option: str) -> None:
    """Choose the first option that holds `option`."""
    page.get_by_role("combobox", name=label).click()
    page.get_by_role("option").filter(has_text=option).first.click()
    settled(page)


def test_the_whole_way(page: Page, server: Server, home: Path, tmp_path: Path) -> None:
    page.goto(server.url)
    expect(page.get_by_text("No data yet.")).to_be_visible()

    # add the phantom
    visit(page, "Data")
    page.get_by_role("tab", name="Built-in").click()
    fill(page, "Images", "120")
    panel = page.get_by_role("tabpanel", name="Built-in")
    panel.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_role("heading", name="Images")).to_be_visible(timeout=LONG)
    expect(page.get_by_text("120", exact=True).first).to_be_visible()

    # cluster
    visit(page, "Poses")
    page.get_by_role("button", name="Cluster by pose").click()
    expect(page.get_by_role("heading", name="Elbow")).to_be_visible(timeout=LONG)
    expect(page.get_by_text(re.compile(r"^k = 3 in every class")).first).to_be_visible()

    # train BAGAN-GP: the curve moves, and a reload finds the run still going
    visit(page, "Generators")
    train_quick(page, autoencoder_steps=60, steps=25, batch_size=16)
    run = begun(Workspace(home), "train")
    with held_at(run, lambda line: line["step"] >= 10):
        expect(page.get_by_text(re.compile(r"^Last step \d+$")).first).to_be_visible(timeout=LONG)
        early = last_step(page)
    with held_at(run, lambda line: line["step"] >= 40):
        until(lambda: last_step(page) > early, lambda: last_step(page))
        page.reload()
        status(page, "running")
    status(page, "done")
    expect(page.get_by_text("Last step 85", exact=True)).to_be_visible()

    # train DDPM
    train_quick(page, "DDPM, one per minority class", steps=6)
    expect(page.get_by_label("autoencoder steps", exact=True)).to_have_count(0)
    expect(page.get_by_text("Trains one model each for")).to_be_visible()
    expect(page.get_by_text("Time: about")).to_be_visible()
    status(page, "(queued|running)")
    status(page, "done")

    # sample both
    for kind in ("ddpm", "bagan-gp"):
        visit(page, "Samples")
        pick(page, "Generator", f"{kind} on phantom")
        fill(page, "Images per class", "60")
        page.get_by_role("button", name="Generate", exact=True).click()
        expect(page.get_by_text(f"{kind} trained on phantom").first).to_be_visible(timeout=LONG)
    expect(page.get_by_text("nearest original to each generated image")).to_be_visible()

    # compare
    visit(page, "Comparison")
    expect(page.get_by_text("7 classifiers of 8 epochs at 32 px").first).to_be_visible()
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_text(re.compile(r"^Last step \d+$")).first).to_be_visible(timeout=LONG)
    watch_step_grow(page)
    expect(page.get_by_role("heading", name="Answer")).to_be_visible(timeout=2 * LONG)
    expect(page.get_by_text("nothing can be tested").first).to_be_visible()

    # read the table
    table = page.get_by_test_id("stDataFrame").locator("td")  # behind the canvas
    for cell in ("none", "bagan-gp, 1.0, always", "placebo, 1.0, always", "ddpm, 1.0, always"):
        expect(table.filter(has_text=re.compile(f"^{cell}$"))).to_have_count(1)

    # download the report, and the rebalanced set
    with page.expect_download() as report:
        page.get_by_role("button", name="Download the report").click()
    assert "not for diagnosis" in Path(report.value.path()).read_text()
    page.get_by_role("button", name="Prepare the zip").click()
    with page.expect_download(timeout=LONG) as packed:
        page.get_by_role("button", name="Download phantom-bagan-gp.zip").click()
    with zipfile.ZipFile(packed.value.path()) as archive:
        names = archive.namelist()
        manifest = json.loads(archive.read("phantom-bagan-gp/manifest.json"))
    per_class = {
        c: sum(n.startswith(f"phantom-bagan-gp/{c}/") for n in names) for c in manifest["counts"]
    }
    assert per_class == manifest["counts"]
    assert len(set(per_class.values())) == 1, "fully balanced"

    # all of it stands on the Runs page: import, poses, two trainings, two samplings, comparison
    visit(page, "Runs")
    page.get_by_role("combobox", name="Run").click()
    expect(page.get_by_role("option")).to_have_count(7)
