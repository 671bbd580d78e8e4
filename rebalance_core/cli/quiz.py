"""`synthetic quiz …`: can a person tell generated images from real ones?"""

from pathlib import Path
from typing import Annotated, Any

import typer

from rebalance_core.cli.common import Json, Seed, emit
from rebalance_core.errors import UserError
from rebalance_core.synthesis.quiz import (
    KIND_NAMES,
    describe_tally,
    open_quiz,
    parse_answers,
    read_tally,
    submit_answers,
    write_quiz,
)
from rebalance_core.synthesis.synthetic_set import open_synthetic
from rebalance_core.workspace import Workspace

app = typer.Typer(no_args_is_help=True, help="Real or generated? A blind quiz of twenty images.")

Name = Annotated[str, typer.Argument(metavar="SYNTHETIC", help="A synthetic set.")]


@app.command("make")
def make(
    name: Name,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Write twenty images, half real and half generated, as 01.png to 20.png."""
    write_quiz(open_quiz(Workspace.from_environment(), name, seed), folder)
    emit({"folder": str(folder.resolve()), "seed": seed}, as_json)


@app.command("answer")
def answer(
    name: Name,
    answers: Annotated[str, typer.Argument(help="r for real, g for generated: r,g,g,…")],
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Count the correct answers to this seed's quiz, and record them for the tally."""
    workspace = Workspace.from_environment()
    quiz, given = open_quiz(workspace, name, seed), parse_answers(answers)
    right = submit_answers(workspace, quiz, given)
    pairs = enumerate(zip(given, quiz.truth, strict=True), 1)
    wrong = [f"{n:02d}.png is {KIND_NAMES[truth]}" for n, (guess, truth) in pairs if guess != truth]
    emit({"right": right, "of": len(quiz.truth), "wrong": wrong}, as_json)


@app.command("tally")
def tally(name: Name, as_json: Json = False) -> None:
    """Show how often generated images were taken for real, over all attempts."""
    workspace = Workspace.from_environment()
    open_synthetic(workspace, name)
    counted = read_tally(workspace, name)
    if counted is None:
        raise UserError(
            f"Nobody has tried the quiz of {name} yet; `synthetic quiz make` writes one."
        )
    text = describe_tally(name, counted)
    if not as_json:
        emit({"tally": text}, False)
        return
    shares: dict[str, Any] = {}
    for field in ("taken_for_real", "taken_for_generated"):
        share = getattr(counted, field)
        shares[field] = {"count": share.count, "total": share.total, "interval": share.interval}
    emit({"attempts": counted.attempts, "text": text, **shares}, True)
