"""What a port is set to: one RTM_NEWLINK, and ethtool's ioctl for its media."""

from __future__ import annotations

import errno

from fe_datapath.datapath import SetPort
from fe_datapath.linux import messages
from fe_datapath.linux.netlink import KernelRefused, NetlinkSocket
from fe_datapath.linux.ports import Ports
from fe_datapath.linux.refusals import ChangeRefused, code_of
from forces.errors import ResultCode


def set_port(netlink: NetlinkSocket, ports: Ports, change: SetPort) -> None:
    """ChangeRefused or KernelRefused."""
    ifindex = ports.ifindex_of(change.port)
    if ifindex is None:
        raise ChangeRefused(ResultCode.NOT_FOUND, f"there is no port {change.port}")
    if change.mtu is not None and not 0 <= change.mtu <= 0xFFFFFFFF:
        raise ChangeRefused(ResultCode.VALUE_OUT_OF_RANGE, f"mtu {change.mtu}")
    if change.mac is not None and len(change.mac) != 6:
        raise ChangeRefused(ResultCode.VALUE_OUT_OF_RANGE, f"mac {change.mac.hex()}")
    if change.media is not None:
        try:
            ports.ethtool.set(ports.interface_of(change.port), change.media)
        except OSError as error:
            code = code_of(error.errno or 0)
            if error.errno == errno.EINVAL:
                code = ResultCode.NOT_SUPPORTED
            raise ChangeRefused(code, f"{change.media}: {error.strerror}") from None
    wanted = change.admin_up, change.mtu, change.promiscuous, change.mac
    if wanted == (None,) * len(wanted):
        return
    try:
        netlink.request(messages.set_link(netlink.sequences(1), ifindex, *wanted))
    except KernelRefused as refused:
        number = refused.refusal.errno
        what = None
        if number == errno.EINVAL and change.mtu is not None:
            what = f"mtu {change.mtu}"
        elif number == errno.EADDRNOTAVAIL and change.mac is not None:
            what = f"mac {change.mac.hex(':')}"
        if what is not None:
            text = f"{what}: {refused.refusal.text}"
            raise ChangeRefused(ResultCode.VALUE_OUT_OF_RANGE, text) from None
        raise
