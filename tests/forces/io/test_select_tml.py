"""Which transport a name means on this machine."""

from __future__ import annotations

import pytest

from forces.io import select_tml
from forces.io.select_tml import TmlUnavailable, choose, make_tml, probe_transports
from forces.io.tml import TmlConfig

CONFIG = TmlConfig("127.0.0.1", {1: "127.0.0.2"}, listen=True)


def machine(monkeypatch: pytest.MonkeyPatch, **reasons: str) -> None:
    probes = {name: (lambda reason=reason: reason) for name, reason in reasons.items()}
    monkeypatch.setattr(select_tml, "_PROBES", {**select_tml._PROBES, **probes})


def test_auto_is_kernel_sctp_where_it_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, sctp="", usrsctp="kernel has its own")
    assert choose("auto") == make_tml("auto", CONFIG).name == "sctp"


def test_auto_is_usrsctp_where_the_kernel_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, sctp="none", usrsctp="")
    assert choose("auto") == make_tml("auto", CONFIG).name == "usrsctp"


def test_auto_never_falls_back_to_tcp_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, sctp="no module", usrsctp="no library")
    with pytest.raises(TmlUnavailable, match=r"sctp: no module; usrsctp: no library"):
        choose("auto")


def test_a_named_transport_that_cannot_be_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, usrsctp="no raw socket")
    with pytest.raises(TmlUnavailable, match=r"^transport usrsctp: no raw socket$"):
        make_tml("usrsctp", CONFIG)
    with pytest.raises(TmlUnavailable, match="unknown transport 'sctpp'; known: auto, sctp"):
        make_tml("sctpp", CONFIG)


def test_tcp_is_there_by_name() -> None:
    assert make_tml("tcp", CONFIG).name == "tcp"
    assert set(probe_transports()) == {"sctp", "usrsctp", "usrsctp-udp", "tcp"}
    assert probe_transports()["tcp"] == ""
