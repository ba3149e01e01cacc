"""How fast it is, in ratios within one run: python -m scripts.benchmark [training|decoding|data|text|extraction|…]

Further parts, not run unless named: `sweep` (how a step grows; draws docs/performance.png), `precision` (bf16 against
float32 on the sample, three seeds each; about twelve trainings' time) and `gpu` (one large CUDA machine).
"""

from __future__ import annotations

import argparse
import sys
import time

import torch

from scripts.benchmark.busy import busy
from scripts.benchmark.captioning import decoding
from scripts.benchmark.exploring import explorer
from scripts.benchmark.gpu import gpu
from scripts.benchmark.learning import sweep, training
from scripts.benchmark.precision import precision
from scripts.benchmark.reading import data, extraction, text
from scripts.benchmark.table import machine

USUAL = {part.__name__: part for part in (training, decoding, busy, data, text, extraction, explorer)}
PARTS = USUAL | {part.__name__: part for part in (sweep, precision, gpu)}


def main(arguments: list[str] | None = None) -> None:
    """Reads the command line and prints the tables."""
    parser = argparse.ArgumentParser(prog="python -m scripts.benchmark", description=__doc__.split("\n\n")[0])
    parser.add_argument("part", nargs="*", help=f"{', '.join(PARTS)} (default: {', '.join(USUAL)})")
    parser.add_argument("--quick", action="store_true", help="smaller and fewer, all parts in less than a minute")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="seconds of the main thread's processor time, for a busy machine; uses one thread",
    )
    options = parser.parse_args(arguments)
    unknown = next((part for part in options.part if part not in PARTS), None)
    if unknown is not None:
        sys.exit(f"unknown part {unknown!r}: take one of {', '.join(PARTS)}")
    if options.processor_time:
        torch.set_num_threads(1)
    print(machine() + (", processor time" if options.processor_time else ""))
    clock = time.thread_time if options.processor_time else time.perf_counter
    for part in options.part or USUAL:
        PARTS[part](clock, options.quick)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(str(error))
