"""Pages open where somebody can see them."""

from pathlib import Path

import pytest

from eva_pretrain.run import browser


@pytest.mark.parametrize(
    ("terminal", "screen", "opened"), [(True, True, True), (False, True, False), (True, False, False)]
)
def test_the_page_opens_where_somebody_can_see_it_and_is_named_elsewhere(
    terminal: bool, screen: bool, opened: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    pages: list[str] = []
    monkeypatch.setattr(browser.sys, "platform", "linux")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    if screen:
        monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(browser.sys.stdout, "isatty", lambda: terminal)
    monkeypatch.setattr(browser.webbrowser, "open", lambda address: pages.append(address) or True)
    browser.open_page(Path("out/demo/leaderboard.html"))
    assert (pages != []) == opened
    assert all(page.startswith("file:///") for page in pages)
    assert "out/demo/leaderboard.html" in capsys.readouterr().err
