"""What fuzzing has found, the corpus that it started from, and a short run of a mutating fuzzer of
our own, so that the laws hold on machines without atheris too (docs/fuzzing.md)."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from forces.errors import ResultCode
from forces.messages import OperType
from tests.conformance.fe_rig import FEPO, LPM, PHY, FeRig, codes, lfb, operation, path
from tests.fuzz.targets import TARGETS, seeds_of

FOLDER = Path(__file__).parent
MUTATIONS = {"decoder": 3_000, "model": 3_000, "fe": 150, "ce": 60}


def files(kind: str) -> list[Path]:
    return sorted(path for path in (FOLDER / kind).rglob("*") if path.is_file())


@pytest.mark.parametrize("file", files("findings"), ids=lambda file: file.name)
def test_a_finding_stays_fixed(file: Path) -> None:
    TARGETS[file.parent.name](file.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_and_its_mutations_keep_the_laws(name: str) -> None:
    rng = random.Random(20261122)
    target = TARGETS[name]
    corpus = [file.read_bytes() for file in files("corpus") if file.parent.name == name]
    corpus += seeds_of(name)
    for octets in corpus:
        target(octets)
    for _ in range(MUTATIONS[name]):
        target(mutated(rng, corpus))


def mutated(rng: random.Random, corpus: list[bytes]) -> bytes:
    octets = bytearray(rng.choice(corpus))
    if rng.random() < 0.5:  # a conversation of two
        octets += rng.choice(corpus)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(octets))
        match rng.randrange(5):
            case 0:
                octets[at] = rng.randrange(256)
            case 1:
                octets[at] ^= 1 << rng.randrange(8)
            case 2:
                octets[at : at + 4] = rng.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\1"))
            case 3:
                donor = rng.choice(corpus)
                start = rng.randrange(len(donor))
                octets[at : at + 8] = donor[start : start + 8]
            case _:
                del octets[at : at + 4 * rng.randint(1, 4)]
        if not octets:
            octets = bytearray(b"\0")
    return bytes(octets)


@pytest.mark.parametrize("class_id", [FEPO, LPM, PHY])
@pytest.mark.parametrize("kind", [OperType.GET, OperType.GET_PROP])
def test_rfc7408_2_5_lfb_properties_that_are_not_kept_are_not_supported(
    class_id: int, kind: OperType
) -> None:
    """Found by fuzzing: a GET of path 0 raised KeyError in the core and ended the FE's process.
    Every CE may send it, a backup too."""
    rig = FeRig()
    rig.associate()
    for ids in ((0,), (0, 1)):
        response = rig.query(lfb(class_id, operation(kind, path(*ids))))
        assert codes(response) == [ResultCode.NOT_SUPPORTED]
