"""What tests of a whole evaluation share."""

import pytest

from eva_vision.segmentation import evaluation


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pictures, which take longer than tiny decoders."""
    monkeypatch.setattr(evaluation, "draw_overlays", lambda *_: [])
