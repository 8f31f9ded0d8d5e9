"""A live line as a terminal shows it, and what a command that draws none does not import."""

import subprocess
import sys

from eva_core.live_columns import drawn


def test_a_line_has_a_count_a_rate_and_the_time_left():
    progress = drawn(redirect_stderr=False)
    line = progress.add_task("embeddings [of] phantom", total=1200, completed=300, rate="25.0 images/s", note="")
    task = progress.tasks[line]
    _, name, _, count, rate, left, _ = (column(task) for column in progress.columns if not isinstance(column, str))
    assert [str(cell) for cell in (name, count, rate)] == ["embeddings [of] phantom", "300/1,200", "25.0 images/s"]
    assert str(left) == "0:00:00"  # since the begin, as no rate is known yet


def test_a_command_that_draws_nothing_imports_no_rich():
    code = "import sys, eva_core.cli, eva_core.progress; assert not [m for m in sys.modules if m.startswith('rich')]"
    subprocess.run([sys.executable, "-c", code], check=True)
