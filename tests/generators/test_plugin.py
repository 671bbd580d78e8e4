"""A generator of another package, which nothing in the project names, is like a built-in one."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plugins import install

from rebalance_core.workspace import HOME_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
DRAW = """
import json, sys
from streamlit.testing.v1 import AppTest
app = AppTest.from_file("app.py", default_timeout=60).run()
app.switch_page(f"pages/{sys.argv[1]}.py").run()
if sys.argv[1] == "generators":
    app.radio[0].set_value("pca").run()
texts = [*app.markdown, *app.caption, *app.info, *app.success]
print(json.dumps({
    "exceptions": [e.message for e in app.exception], "errors": [e.value for e in app.error],
    "options": [list(r.options) for r in app.radio],
    "numbers": [n.label for n in app.number_input], "texts": [t.value for t in texts],
    "arms": [o for m in app.multiselect for o in m.options],
}))
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Any]:
    """Run Python with the plugin installed, in a workspace of its own."""
    environment = {
        **os.environ,
        HOME_VARIABLE: str(tmp_path / "home"),
        "PYTHONPATH": install(tmp_path / "site"),
    }

    def python(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, done.stderr
        return done

    return python


def test_a_generator_of_one_file_is_trained_sampled_compared_shown_and_removed(
    run: Callable[..., Any],
) -> None:
    def studio(*words: object) -> Any:
        return json.loads(run("-m", "rebalance_core", *words, "--json").stdout)

    run(
        "-c",
        "from rebalance_core.datasets.importing import import_dataset\n"
        "from rebalance_core.datasets.source import ImportConfig\n"
        "from rebalance_core.runs.run import MemoryRun\n"
        "from rebalance_core.workspace import Workspace\n"
        "config = ImportConfig(name='p', source='phantom', count=120, size=32)\n"
        "import_dataset(Workspace.from_environment(), config, MemoryRun())",
    )
    estimated = studio("train", "pca", "p", "--preset", "quick", "--estimate")
    assert estimated["disk"] == 4 * 3 * 32 * 32 * 9
    trained = studio("train", "pca", "p", "--preset", "quick", "--set", "components=4")
    made = studio("sample", trained["run"], "narrow", "--count", "10", "--option", "spread=0.5")
    assert made["synthetic"] == "narrow"
    shown = studio("synthetic", "show", "narrow")
    assert (shown["generator"], shown["sampler"]) == ("pca", {"spread": 0.5})
    refused = run(
        "-m", "rebalance_core", "sample", trained["run"], "wide", "--option", "spread=9", code=2
    )
    assert "spread=9 does not fit PcaSampling" in refused.stderr
    scores = studio("score", "narrow", "--epochs", "1")["scores"]
    assert set(scores["classes"]) == {"glioma", "meningioma", "pituitary"}
    compared = studio(
        "compare",
        "p",
        "--arms",
        "none,pca",
        "--amount",
        "10",
        "--schedules",
        "always",
        "--set",
        "epochs=1",
    )
    assert [row["arm"] for row in compared["results"]] == ["none", "pca"]
    assert [row["free"] for row in compared["results"]] == [True, False]
    # pages: title, fields, description, time; the option of its sampler; its arm
    page = json.loads(run("-c", DRAW, "generators").stdout.splitlines()[-1])
    assert (page["exceptions"], page["errors"]) == ([], [])
    assert "PCA of pixels" in page["options"][0]
    assert {"size", "components"} <= set(page["numbers"])
    assert "Fits a Gaussian to each of glioma, meningioma, pituitary, in seconds." in page["texts"]
    assert any(text.startswith("Time: about ") for text in page["texts"])
    page = json.loads(run("-c", DRAW, "samples").stdout.splitlines()[-1])
    assert (page["exceptions"], page["errors"]) == ([], [])
    assert "Spread" in page["numbers"]
    page = json.loads(run("-c", DRAW, "comparison").stdout.splitlines()[-1])
    assert (page["exceptions"], page["errors"]) == ([], [])
    assert "pca" in page["arms"]
    # gone, with all that came of it
    studio("runs", "remove", trained["run"], "--with-dependents", "--yes")
    assert studio("synthetic", "list")["synthetic"] in ([], {}, "none yet")


def test_it_passes_the_suite_for_generators(run: Callable[..., Any]) -> None:
    run(
        "-c",
        "from rebalance_core.generators.spec import generator_spec, plugin_problems\n"
        "from rebalance_core.testing import check_generator\n"
        "assert plugin_problems() == []\n"
        "check_generator(generator_spec('pca'), {'size': 16, 'components': 3})",
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("SPEC = 5", "it is not a GeneratorSpec."),
        ("raise RuntimeError('broken')", "broken"),
        (
            "from rebalance_core.generators.diffusion import DDPM as SPEC",
            "there is a generator ddpm already.",
        ),
    ],
)
def test_a_broken_plugin_is_a_sentence_and_harms_no_other(
    tmp_path: Path, run: Callable[..., Any], content: str, problem: str
) -> None:
    (tmp_path / "site" / "rebalance_pca.py").write_text(content)
    done = run("-m", "rebalance_core", "doctor", "--json", code=1)
    found = json.loads(done.stdout)["problems"]
    assert f"The generator plugin rebalance_pca:SPEC cannot be used: {problem}" in found
    assert "bagan-gp" in run("-m", "rebalance_core", "train", "--help").stdout
