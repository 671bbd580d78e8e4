"""The command line, `python -m rebalance_core …`: everything a page does, without a browser."""

import sys
from collections.abc import Callable

import typer

from rebalance_core.cli import (
    classifiers,
    comparison,
    datasets,
    generators,
    poses,
    quiz,
    runs,
    sets,
    studio,
    study,
    synthetic,
)
from rebalance_core.cli.common import print_error
from rebalance_core.cli.datasets import show_dataset
from rebalance_core.errors import UserError
from rebalance_core.system.console import escape_unprintable
from rebalance_core.system.files import translate_disk_full
from rebalance_core.workspace import home

__all__ = ["app", "main", "show_dataset"]

# Spellings of earlier versions: hidden aliases of the same functions.
OLD_COMMANDS: dict[str, Callable[..., None]] = {
    "train": generators.train,
    "sample": generators.sample,
    "interpolate": generators.interpolate,
    "denoise": generators.denoise,
    "score": synthetic.score,
    "filter": synthetic.filter_synthetic,
    "classify": classifiers.classify,
    "save-classifier": classifiers.save,
}

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
# A group for each thing that is kept; what spans several of them stays at the top level.
app.add_typer(datasets.app, name="datasets")
app.add_typer(sets.app, name="sets")
app.add_typer(poses.app, name="poses")
app.add_typer(generators.app, name="generators")
app.add_typer(synthetic.app, name="synthetic")
app.add_typer(comparison.app)  # compare, rebalance
app.add_typer(classifiers.app, name="classifiers")
app.add_typer(study.app)
app.add_typer(runs.app, name="runs")
app.add_typer(studio.app)  # app, doctor
app.add_typer(quiz.app, name="quiz", hidden=True)
for name, function in OLD_COMMANDS.items():
    app.command(name, hidden=True)(function)


def main() -> None:
    """Run the command line; a user error is one sentence on stderr and exit code 2."""
    escape_unprintable()
    try:
        with translate_disk_full(home()):
            app()
    except UserError as error:
        print_error(str(error), "red")
        sys.exit(2)
