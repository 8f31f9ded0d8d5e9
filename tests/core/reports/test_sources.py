"""What a report is made from is a plain value: a kind of task that names it loads no configuration."""

import subprocess
import sys


def test_it_knows_neither_parsers_nor_tasks():
    code = "import sys, eva_core.reports.sources; sys.exit('eva_core.config.parser' in sys.modules or "
    assert subprocess.run([sys.executable, "-c", code + "'eva_core.task' in sys.modules)"]).returncode == 0
