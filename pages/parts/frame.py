"""What every page stands in: navigation, title, foot."""

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from pages.parts.choose import arrive
from pages.parts.hosts import check_session
from pages.parts.plain import plain
from rebalance_core.errors import UserError
from rebalance_core.system.exposure import exposure_warning
from rebalance_core.system.files import translate_disk_full
from rebalance_core.workspace import Workspace

P = ParamSpec("P")
ROOT = Path(__file__).resolve().parents[2]
NAVIGATED = "navigated"  # session key: app.py has set the pages up in this session
MESSAGES = "messages"  # session key: what is to be shown once a page is drawn
PAGES = {
    "home": ("Home", ":material/home:"),
    "data": ("Data", ":material/database:"),
    "poses": ("Poses", ":material/3d_rotation:"),
    "generators": ("Generators", ":material/auto_awesome:"),
    "samples": ("Samples", ":material/photo_library:"),
    "comparison": ("Comparison", ":material/query_stats:"),
    "runs": ("Runs", ":material/list_alt:"),
    "settings": ("Settings", ":material/tune:"),
}


def _pages() -> list[StreamlitPage]:
    return [
        st.Page(ROOT / "pages" / f"{name}.py", title=title, icon=icon, default=name == "home")
        for name, (title, icon) in PAGES.items()
    ]


def configure() -> None:
    """The browser's tab. Its icon is text: one of Material's would be fetched from a stranger, and
    so would the current page's if there were none. A session from elsewhere ends here."""
    st.set_page_config(page_title="Rebalance Studio", page_icon="⚖️", layout="wide")
    check_session()


def navigate() -> StreamlitPage:
    """The sidebar, and the page that the address names."""
    st.session_state[NAVIGATED] = True
    return st.navigation(_pages())


def show(draw: Callable[[Workspace], None], title: str, what: str) -> None:
    """Draw a page: its title, one line on what it is for, then `draw`.

    Right after a server start, Streamlit may run a page's script without app.py: then set the
    navigation up and start over.
    """
    if NAVIGATED not in st.session_state:
        configure()
        st.navigation(_pages())
        st.session_state[NAVIGATED] = True
        st.rerun()
    arrive()
    st.title(title)
    st.caption(what)
    if warning := exposure_warning(st.get_option("server.address")):
        st.warning(warning, icon=":material/lock_open:")
    guarded(draw)(Workspace.from_environment())
    for message in st.session_state.pop(MESSAGES, []):
        st.toast(plain(message), icon=":material/check:", duration="long")


def guarded(draw: Callable[P, object]) -> Callable[P, None]:
    """Show what a person can mend in red. Fragments need it inside: Streamlit catches first."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            with translate_disk_full(Workspace.from_environment().root):
                draw(*args, **kwargs)
        except UserError as error:
            st.error(plain(str(error)))

    return drawn


def notify(message: str) -> None:
    """Show a message over the page as soon as the whole page is drawn.

    What is drawn in a run that another one follows at once may never reach the browser.
    """
    st.session_state.setdefault(MESSAGES, []).append(message)


def link(name: str, label: str | None = None) -> None:
    """A link to another page of the app."""
    title, icon = PAGES[name]
    st.page_link(ROOT / "pages" / f"{name}.py", label=label or title, icon=icon)


def empty_state(message: str, page: str, label: str) -> None:
    """What is missing here, and a link to the page where it is made."""
    st.info(message)
    link(page, label)


def check_first_run() -> bool:
    """Can the workspace be written? Says what to do where it can't."""
    try:
        existing = Workspace.from_environment().nearest_existing
    except UserError as error:
        st.error(plain(str(error)))
        return False
    if os.access(existing, os.W_OK):
        return True
    st.error(f"{existing} cannot be written; set REBALANCE_HOME to a folder that can, and restart.")
    return False


def foot() -> None:
    st.divider()
    st.caption("Rebalance Studio is research software, not for diagnosis.")
