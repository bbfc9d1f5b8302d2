"""Coverage-guided fuzzing of one target with atheris; see docs/fuzzing.md.

nice -n 19 python -m tests.fuzz.run TARGET [SECONDS] [CORPUS]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

MAX_OCTETS = 4096
TIMEOUT_S = 5
RSS_LIMIT_MB = 1024
SEEDS = Path(__file__).parent / "corpus"


def main(arguments: list[str]) -> None:
    import atheris  # not a dependency of ceha: docs/fuzzing.md

    with atheris.instrument_imports(include=["forces", "fe_datapath", "ce"]):
        from tests.fuzz.targets import TARGETS, seeds_of

    if not arguments or arguments[0] not in TARGETS:
        sys.exit(f"which of {', '.join(TARGETS)}?")
    name = arguments[0]
    seconds = int(arguments[1]) if len(arguments) > 1 else 60
    corpus = Path(arguments[2]) if len(arguments) > 2 else Path(tempfile.mkdtemp())
    corpus.mkdir(parents=True, exist_ok=True)
    for number, octets in enumerate(seeds_of(name)):
        (corpus / f"seed-{number}").write_bytes(octets)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={MAX_OCTETS}",
        f"-timeout={TIMEOUT_S}",
        f"-rss_limit_mb={RSS_LIMIT_MB}",
        f"-artifact_prefix={corpus}/finding-",
    ]
    kept = [str(SEEDS / name)] if (SEEDS / name).is_dir() else []
    atheris.Setup([sys.argv[0], *options, str(corpus), *kept], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
