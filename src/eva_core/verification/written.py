"""Whether the files of a result are those that were written: the seal of results.json, and each file it vouches for."""

import json
from typing import Any, cast

from eva_core.contracts.results import SCHEMA, Results
from eva_core.errors import UsageError
from eva_core.files.checksums import not_read, sha256
from eva_core.files.file_names import below
from eva_core.files.sealed_records import FILES, SEAL, seal_of, text_of
from eva_core.results.record import RESULT_FILES, RESULTS
from eva_core.verification.verdict import Verdict


def read_stated(verdict: Verdict) -> Results | None:
    """What results.json states, also where its seal is broken; None where nothing can be read of it.

    Args:
        verdict: What is known of the folder so far; learns whether the seal holds.
    Raises:
        UsageError: There is no result, or one of another version of the format.
        EvaError: It could not be read.
    """
    path = verdict.folder / RESULTS
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(f"Expected a finished result in {verdict.folder}, but it has no {RESULTS}.") from error
    except OSError as error:
        raise not_read(path, error) from error
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        verdict.wrong.append(f"{RESULTS}: expected JSON, but found {str(error)[:80]}.")
        return None
    if not isinstance(content, dict):
        verdict.wrong.append(f"{RESULTS}: expected a mapping, but found a {type(content).__name__}.")
        return None
    sealed = seal_of(content)
    if content.get(SEAL) != sealed:
        verdict.wrong.append(f"{RESULTS}: expected the seal {sealed[:12]} of its content, but found {_short(content)}.")
    elif text != text_of(content).encode():
        verdict.wrong.append(f"{RESULTS}: expected the one text that eva writes of its content, but found other bytes.")
    elif content.get("schema") != SCHEMA:
        raise UsageError(
            f"Expected a result of format {SCHEMA} in {path}, but it has {content.get('schema')!r}. Verify it with the "
            "version of eva that made it."
        )
    else:
        verdict.holds.append("seal")
    return cast(Results, content)


def check_files(verdict: Verdict, results: Results, own: list[str]) -> None:
    """Check each file that results.json vouches for, and that it does so for each that belongs to a result.

    Args:
        verdict: Learns what is missing or other than written.
        results: The content of results.json.
        own: Files of the task's own.
    """
    files: Any = results.get(FILES)
    if not isinstance(files, dict):
        verdict.wrong.append(f"{RESULTS}: expected the files of the result, but found {files!r}.")
        return
    before = len(verdict.wrong)
    for name in dict.fromkeys((*RESULT_FILES, *own)):
        if name not in files:
            verdict.wrong.append(f"{name}: expected its digest in {RESULTS}, but found none.")
    for name, stated in files.items():
        _check_file(verdict, str(name), stated)
    if len(verdict.wrong) == before:
        verdict.holds.append(f"{len(files)} files")


def _check_file(verdict: Verdict, name: str, stated: Any) -> None:
    path = below(verdict.folder, name)
    expected = stated if isinstance(stated, dict) else {}
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        verdict.wrong.append(f"{name}: expected {expected.get('size', 0):,} bytes, but the file is missing.")
        return
    except OSError as error:
        raise not_read(path, error) from error
    found = sha256(content)
    if (len(content), found) != (expected.get("size"), expected.get(SEAL)):
        verdict.wrong.append(
            f"{name}: expected {expected.get('size')} bytes with SHA-256 {_short(expected)}, but found {len(content)} "
            f"with {found[:12]}."
        )


def _short(content: Any) -> str:
    return str(content.get(SEAL))[:12]
