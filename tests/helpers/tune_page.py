"""The Tune page in a test."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from tests.helpers.project import ROOT


def tune(**params: str) -> AppTest:
    """The page as a link with these parameters opens it."""
    test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    test.switch_page("pages/1_Tune.py")
    for key, value in params.items():
        test.query_params[key] = value
    return ran(test)


def ran(test: AppTest) -> AppTest:
    """The page drawn anew, without an exception."""
    test.run()
    assert not test.exception
    return test
