"""Found in place of the package `scripts` where a command is started inside its folder: says how it is started."""

import sys

sys.exit("Start commands in the course's folder, the one that scripts/ lies in, as python -m scripts.NAME")
