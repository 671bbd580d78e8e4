"""A page of the app without a browser."""

from pathlib import Path

from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 60  # seconds a page may take to draw under a test's load


def opened(name: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=TIMEOUT).run()
    if name != "home":
        app.switch_page(f"pages/{name}.py").run()
    assert not app.exception
    return app
