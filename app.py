"""Rebalance Studio: navigation, theme, first-run check; nothing else.

`streamlit run` imports this file for `app`, which guards the server, and then executes it as
`__main__` in every session.
"""

from streamlit.starlette import App

from pages.parts.frame import check_first_run, configure, navigate, render_footer
from pages.parts.hosts import GUARD, open_in_browser

if __name__ == "__main__":
    configure()
    page = navigate()
    if check_first_run():
        page.run()
    render_footer()
else:
    app = App(__file__, middleware=[GUARD], lifespan=open_in_browser)
