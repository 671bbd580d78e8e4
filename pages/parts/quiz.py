"""The quiz “Real or generated?”: twenty images, one answer each, then the result."""

from collections.abc import Sequence

import streamlit as st

from pages.parts.beside import picture_tile
from pages.parts.gallery import Group, gallery
from pages.parts.live import apply
from pages.parts.markdown import escape_markdown
from rebalance_core.errors import UserError
from rebalance_core.imaging.grid import png_bytes
from rebalance_core.synthesis.quiz import (
    Kind,
    Quiz,
    describe_tally,
    make_quiz,
    read_tally,
    submit_answers,
)
from rebalance_core.synthesis.synthetic_set import SyntheticSet
from rebalance_core.workspace import Workspace

COLUMNS = 4
LABELS: dict[Kind, str] = {"r": "real", "g": "fake"}  # short enough for a button
MISTAKEN: dict[Kind, str] = {
    "g": "Generated, and taken for real",
    "r": "Real, and taken for generated",
}


def render_quiz(workspace: Workspace, synthetic: SyntheticSet) -> None:
    created = synthetic.provenance.created or 0.0
    key = f"quiz {synthetic.name} {created}"  # distinct from an earlier set of this name
    tally = read_tally(workspace, synthetic.name)
    if tally is not None:
        st.caption(escape_markdown(describe_tally(synthetic.name, tally)))
    seed: int = st.session_state.setdefault(f"{key} seed", tally.attempts if tally else 0)
    try:
        quiz = _cached_quiz(str(synthetic.path), created, seed, workspace, synthetic)
    except UserError as error:
        st.info(escape_markdown(str(error)))
        return
    answered: tuple[Kind, ...] | None = st.session_state.get(f"{key} answers {seed}")
    if answered is not None:
        _render_result(quiz, answered)
        if st.button("Try again with other images", type="primary", key=f"{key} again"):
            st.session_state[f"{key} seed"] = seed + 1
            st.rerun()
        return
    st.markdown(
        "Ten of these are real, from the training set; ten were generated. **Which are which?**"
    )
    answers = _render_questions(quiz, key)
    remaining = sum(answer is None for answer in answers)
    if st.button(
        "Submit" if not remaining else f"Submit ({remaining} to go)",
        type="primary",
        disabled=remaining > 0,
        key=f"{key} hand in",
    ):

        def submit() -> None:
            complete = tuple(a for a in answers if a is not None)
            submit_answers(workspace, quiz, complete)
            st.session_state[f"{key} answers {seed}"] = complete

        apply(submit)


@st.cache_data(max_entries=20, show_spinner="Choosing images …")
def _cached_quiz(
    path: str, created: float, seed: int, _workspace: Workspace, _synthetic: SyntheticSet
) -> Quiz:
    """The quiz of a seed, made once and not at each answer."""
    return make_quiz(_workspace, _synthetic, seed)


def _render_questions(quiz: Quiz, key: str) -> list[Kind | None]:
    """Images with a control below each; answers can be changed until they are submitted."""
    answers: list[Kind | None] = []
    kinds: list[Kind] = ["r", "g"]
    for start in range(0, len(quiz.images), COLUMNS):
        for place, column in enumerate(st.columns(COLUMNS)):
            k = start + place
            column.image(png_bytes(quiz.images[k]), width="stretch")
            answers.append(
                column.segmented_control(
                    f"Image {k + 1}",
                    kinds,
                    format_func=lambda kind: LABELS[kind],
                    key=f"{key} {quiz.seed} {k}",
                    label_visibility="collapsed",
                    width="stretch",
                )
            )
    return answers


def _render_result(quiz: Quiz, answered: Sequence[Kind]) -> None:
    pairs = list(zip(answered, quiz.truth, strict=True))
    right = sum(a == t for a, t in pairs)
    st.markdown(f"### {right} of {len(pairs)} correct")
    st.caption("Guessing gives ten on average.")
    for kind, title in MISTAKEN.items():
        wrong = [k for k, (a, t) in enumerate(pairs) if a != t and t == kind]
        if wrong:
            tiles = [
                picture_tile(f"image {k + 1}", quiz.images[k], f"{quiz.labels[k]}, {k + 1}")
                for k in wrong
            ]
            gallery(
                [Group(tiles, title)],
                key=f"wrong {quiz.synthetic} {quiz.seed} {kind}",
                columns=COLUMNS,
                cursor="default",
            )
    if right == len(pairs):
        st.success("All answers are correct.")
