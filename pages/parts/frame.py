"""Page frame: navigation, title, error messages and footer."""

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from pages.parts.choose import arrive
from pages.parts.hosts import check_session
from pages.parts.markdown import escape_markdown
from rebalance_core.errors import UserError
from rebalance_core.system.exposure import exposure_warning
from rebalance_core.system.files import translate_disk_full
from rebalance_core.workspace import Workspace

P = ParamSpec("P")
ROOT = Path(__file__).resolve().parents[2]
# Session keys: whether app.py has set up the navigation; messages to show after the next render.
NAVIGATED, MESSAGES = "navigated", "messages"
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
    """Set the browser tab's title and icon, and stop sessions that the guard would refuse.

    The icon is an emoji: a Material icon would be downloaded from a third-party server, and so
    would the current page's icon if none were set.
    """
    st.set_page_config(page_title="Rebalance Studio", page_icon="⚖️", layout="wide")
    check_session()


def navigate() -> StreamlitPage:
    """Render the sidebar and return the page at the current URL."""
    st.session_state[NAVIGATED] = True
    return st.navigation(_pages())


def run_page(render: Callable[[Workspace], None], title: str, caption: str) -> None:
    """Render a page: its title, a one-line caption, then `render`.

    Right after a server start, Streamlit may run a page's script without app.py. In that case, set
    up the navigation and rerun.
    """
    if NAVIGATED not in st.session_state:
        configure()
        st.navigation(_pages())
        st.session_state[NAVIGATED] = True
        st.rerun()
    arrive()
    st.title(title)
    st.caption(caption)
    if warning := exposure_warning(st.get_option("server.address")):
        st.warning(warning, icon=":material/lock_open:")
    show_user_errors(render)(Workspace.from_environment())
    for message in st.session_state.pop(MESSAGES, []):
        st.toast(escape_markdown(message), icon=":material/check:", duration="long")


def show_user_errors(render: Callable[P, object]) -> Callable[P, None]:
    """Wrap `render` so that a UserError becomes an error box on the page.

    Wrap the function inside a fragment, since Streamlit catches exceptions at its boundary.
    """

    @wraps(render)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            with translate_disk_full(Workspace.from_environment().root):
                render(*args, **kwargs)
        except UserError as error:
            st.error(escape_markdown(str(error)))

    return wrapped


def notify(message: str) -> None:
    """Show a toast after the next complete render of the page.

    Elements of a script run that is followed by an immediate rerun may never reach the browser.
    """
    st.session_state.setdefault(MESSAGES, []).append(message)


def link(name: str, label: str | None = None) -> None:
    """Render a link to another page of the app."""
    title, icon = PAGES[name]
    st.page_link(ROOT / "pages" / f"{name}.py", label=label or title, icon=icon)


def empty_state(message: str, page: str, label: str) -> None:
    """Render a message about missing data and a link to the page that creates it."""
    st.info(message)
    link(page, label)


def check_first_run() -> bool:
    """Check that the workspace is writable; render an error with the remedy if it is not."""
    try:
        existing = Workspace.from_environment().nearest_existing
    except UserError as error:
        st.error(escape_markdown(str(error)))
        return False
    if os.access(existing, os.W_OK):
        return True
    st.error(f"{existing} is not writable; set REBALANCE_HOME to a writable folder and restart.")
    return False


def render_footer() -> None:
    st.divider()
    st.caption("Rebalance Studio is research software, not for diagnosis.")
