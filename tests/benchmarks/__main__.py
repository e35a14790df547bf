"""`python -m tests.benchmarks [NAME...]`: runs all benchmarks, or those named."""

import importlib
import sys

NAMES = (
    "objective",
    "speed",
    "peer",
    "memory",
    "stills",
    "temporal",
    "fuzz",
    "faults",
    "schedule",
    "scaling",
    "segments",
)


def main() -> None:
    chosen = sys.argv[1:] or list(NAMES)
    unknown = [name for name in chosen if name not in NAMES]
    if unknown:
        sys.exit(f"no benchmark {unknown[0]!r}; there are: {', '.join(NAMES)}")
    for name in chosen:
        importlib.import_module(f"tests.benchmarks.{name}").run()


if __name__ == "__main__":
    main()
