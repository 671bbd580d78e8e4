"""Real or generated? Twenty images, one answer each, then the truth."""

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
SHORT: dict[Kind, str] = {"r": "real", "g": "made"}  # fits beneath an image
FOOLED: dict[Kind, str] = {
    "g": "Generated, and taken for real",
    "r": "Real, and taken for generated",
}


def quiz(workspace: Workspace, found: SyntheticSet) -> None:
    created = found.provenance.created or 0.0
    key = f"quiz {found.name} {created}"  # not of a set of that name before
    tally = read_tally(workspace, found.name)
    if tally is not None:
        st.caption(escape_markdown(describe_tally(found.name, tally)))
    seed: int = st.session_state.setdefault(f"{key} seed", tally.attempts if tally else 0)
    try:
        asked = _asked(str(found.path), created, seed, workspace, found)
    except UserError as error:
        st.info(escape_markdown(str(error)))
        return
    answered: tuple[Kind, ...] | None = st.session_state.get(f"{key} answers {seed}")
    if answered is not None:
        _truth(asked, answered)
        if st.button("Again, with other images", type="primary", key=f"{key} again"):
            st.session_state[f"{key} seed"] = seed + 1
            st.rerun()
        return
    st.markdown(
        "Ten of these are real, from the training set; ten were made by the generator. "
        "**Which are which?**"
    )
    answers = _ask(asked, key)
    left = sum(answer is None for answer in answers)
    if st.button(
        "Hand in" if not left else f"Hand in ({left} to go)",
        type="primary",
        disabled=left > 0,
        key=f"{key} hand in",
    ):

        def keep() -> None:
            told = tuple(a for a in answers if a is not None)
            submit_answers(workspace, asked, told)
            st.session_state[f"{key} answers {seed}"] = told

        apply(keep)


@st.cache_data(max_entries=20, show_spinner="Choosing images …")
def _asked(
    path: str, created: float, seed: int, _workspace: Workspace, _found: SyntheticSet
) -> Quiz:
    """Once, not at every answer."""
    return make_quiz(_workspace, _found, seed)


def _ask(asked: Quiz, key: str) -> list[Kind | None]:
    """A control beneath each image; an answer can be changed until all are handed in."""
    answers: list[Kind | None] = []
    kinds: list[Kind] = ["r", "g"]
    for start in range(0, len(asked.images), COLUMNS):
        for place, column in enumerate(st.columns(COLUMNS)):
            k = start + place
            column.image(png_bytes(asked.images[k]), width="stretch")
            answers.append(
                column.segmented_control(
                    f"Image {k + 1}",
                    kinds,
                    format_func=lambda kind: SHORT[kind],
                    key=f"{key} {asked.seed} {k}",
                    label_visibility="collapsed",
                    width="stretch",
                )
            )
    return answers


def _truth(asked: Quiz, answered: Sequence[Kind]) -> None:
    pairs = list(zip(answered, asked.truth, strict=True))
    right = sum(a == t for a, t in pairs)
    st.markdown(f"### {right} of {len(pairs)} right")
    st.caption("Guessing gives ten.")
    for kind, title in FOOLED.items():
        wrong = [k for k, (a, t) in enumerate(pairs) if a != t and t == kind]
        if wrong:
            tiles = [
                picture_tile(f"image {k + 1}", asked.images[k], f"{asked.labels[k]}, {k + 1}")
                for k in wrong
            ]
            gallery(
                [Group(tiles, title)],
                key=f"wrong {asked.synthetic} {asked.seed} {kind}",
                columns=COLUMNS,
                cursor="default",
            )
    if right == len(pairs):
        st.success("None of them fooled you.")
