"""Ryu 4.34 beside the eventlet of today: import this before anything of ryu.

Ryu's last release (2021) imports a name that eventlet dropped in 0.30.3, from a module that the
baseline does not use (ryu.app.wsgi, imported by ryu.base.app_manager). No older eventlet runs on
Python 3.11. os-ken, Ryu's successor at OpenStack, needs none of this.
"""

from __future__ import annotations

import warnings

warnings.filterwarnings("ignore", message=r"(?s).*Eventlet is deprecated")

import eventlet.hubs  # noqa: E402
import eventlet.wsgi  # noqa: E402

if not hasattr(eventlet.wsgi, "ALREADY_HANDLED"):
    eventlet.wsgi.ALREADY_HANDLED = object()


def become_green() -> None:
    """For a process that was forked from one that had imported eventlet: an epoll of its own, and
    green sockets. Not Ryu's hub.patch(): that also looks at every object there is for locks to
    exchange (2 s of a takeover lab's processor), and nothing here starts a thread."""
    eventlet.hubs.use_hub("epolls")
    eventlet.monkey_patch(os=False, thread=False)
