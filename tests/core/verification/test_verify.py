"""One hundred edits of a finished result, each found: as a disk makes them, and as somebody does who seals it again."""

import hashlib
import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eva_core.files.sealed_records import SEAL, seal_of, text_of
from eva_core.results.record import CONFIG, HEADS, PREDICTIONS, RESULTS
from eva_core.verification import numbers
from eva_core.verification.verify import verify
from tests.core.verification.conftest import resealed

EDITED = (RESULTS, PREDICTIONS, HEADS, CONFIG, "bootstrap.npy")


@pytest.fixture
def remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each set of predictions is scored once: edits of other files leave them as they are."""
    known: dict[str, Any] = {}
    inner = numbers.recomputed

    def recomputed(folder: Path, results: Any, task: Any) -> Any:
        content = (folder / PREDICTIONS).read_bytes()
        asked = [results["splits"].keys(), results["main"]["split"], results["main"]["metric"], results["selection"]]
        asked += [results["main"]["selected_on"], [sorted(s["metrics"]) for s in results["splits"].values()]]
        key = hashlib.sha256(content + repr(asked).encode()).hexdigest()
        if key not in known:
            known[key] = inner(folder, results, task)
        return known[key]

    monkeypatch.setattr(numbers, "recomputed", recomputed)


def edits(of: Path, count: int, at: Callable[[bytes], list[int]], seed: int) -> list[tuple[str, int, int]]:
    """File, place and new byte of random edits; files that are large are hit no oftener than small ones."""
    rng, made = random.Random(seed), []
    while len(made) < count:
        name = rng.choice(EDITED)
        content = (of / name).read_bytes()
        places = at(content)
        if not places:
            continue
        place = rng.choice(places)
        new = rng.choice(b"0123456789") if chr(content[place]).isdigit() else rng.randrange(256)
        if new != content[place]:
            made.append((name, place, new))
    return made


def digits(content: bytes) -> list[int]:
    return [found.start() for found in re.finditer(rb"[0-9]", content)]


def test_a_hundred_edits_of_a_byte_or_a_digit_are_all_found(made_result: Path, result: Path, remembered: None):
    assert verify(result, sources=False).exit_code == 0
    missed = []
    for name, place, new in [
        *edits(made_result, 50, lambda content: [*range(len(content))], seed=1),
        *edits(made_result, 50, digits, seed=2),
    ]:
        content = (made_result / name).read_bytes()
        (result / name).write_bytes(content[:place] + bytes([new]) + content[place + 1 :])
        if verify(result, sources=False).exit_code != 1:
            missed.append((name, place, new))
        (result / name).write_bytes(content)
    assert missed == []


def test_a_hundred_edits_of_numbers_are_found_though_the_result_is_sealed_again(
    made_result: Path, result: Path, remembered: None
):
    text = (made_result / RESULTS).read_text()
    own = [m for m in re.finditer(r"-?\d+\.?\d*(e-?\d+)?(?=[,\n])", text) if _is_recomputed(text, m.start())]
    rng, missed, made = random.Random(3), [], 0
    while made < 100:
        number = rng.choice(own)
        place = rng.choice([n for n in range(number.start(), number.end()) if text[n].isdigit()])
        changed = text[:place] + str((int(text[place]) + rng.randrange(1, 10)) % 10) + text[place + 1 :]
        try:
            content = json.loads(changed)
        except ValueError:  # 01 is no number: nothing that could be sealed
            continue
        if content == json.loads(text):  # the same number by other digits
            continue
        made += 1
        content[SEAL] = seal_of(content)
        (result / RESULTS).write_text(text_of(content))
        if verify(result, sources=False).exit_code != 1:
            missed.append(changed[number.start() - 40 : number.end() + 2])
    assert missed == []


def _is_recomputed(text: str, place: int) -> bool:
    """Whether a number is one that predictions decide: below `main` or `splits`, and not of the last step."""
    line = text[text.rfind("\n", 0, place) + 1 : place]
    return text.index('"main"') < place < text.index('"environment"') and '"last"' not in line


def test_swapped_heads_and_a_task_that_nobody_knows(made_result: Path, result: Path):
    shutil.copy(result / CONFIG, result / HEADS)
    verdict = verify(result, sources=False)
    assert verdict.wrong
    assert verdict.wrong[0].startswith("heads.safetensors: expected")
    shutil.copy(made_result / HEADS, result / HEADS)
    resealed(result, lambda content: content.update(task="telepathy"))
    verdict = verify(result, sources=False)
    assert (verdict.exit_code, verdict.wrong) == (2, [])


def test_a_result_whose_sources_are_not_here_is_checked_in_part(result: Path):
    verdict = verify(result)
    assert verdict.exit_code == 2
    assert "seal" in verdict.holds
    assert verdict.unchecked[0].startswith("data and weights: ")
