"""CPU s of `import phenolens`, wall s of `phenolens --help`, medians of 9: python benchmarks/startup.py"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS = 9
CPU = "import time; a = time.process_time(); import phenolens; print(time.process_time() - a)"


def main() -> None:
    cpu = [
        float(subprocess.run([sys.executable, "-c", CPU], capture_output=True, text=True).stdout) for _ in range(ROUNDS)
    ]
    wall = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "phenolens.cli", "--help"], capture_output=True, check=True)
        wall.append(time.perf_counter() - start)
    print(f"import phenolens: {statistics.median(cpu):.4f} CPU s (goal < 0.1)")
    print(f"phenolens --help: {statistics.median(wall):.3f} s (goal < 0.3)")


if __name__ == "__main__":
    main()
