"""What a command prints goes into a file of any encoding, and ends nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "cp437"])
@pytest.mark.parametrize("caption", ["एक कुत्ता घास पर", "一只狗", "a dog 🐕 on “grass”", "un café"])
def test_a_caption_that_the_console_cannot_show_ends_nothing(tmp_path, encoding, caption):
    code = f"import scripts, sys; print({caption!r}); print({caption!r}, file=sys.stderr); print('the end')"
    environment = os.environ | {"PYTHONUTF8": "0", "PYTHONIOENCODING": encoding}
    with (tmp_path / "log.txt").open("w") as log:
        run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=log)
    assert run.returncode == 0
    shown = caption.encode(encoding, "backslashreplace").decode(encoding)
    assert (tmp_path / "log.txt").read_text(encoding=encoding).splitlines() == [shown, "the end"]
