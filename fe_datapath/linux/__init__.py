"""The only place that programs a kernel: one namespace's links, nexthop objects and routes.

    datapath.py    LinuxDatapath, the seam's implementation: what runs in which thread
    programmer.py  changes -> batches -> failures by index; taking back; in the worker thread
    ledger.py      what those changes have left in the kernel, as far as we know
    templates.py   route messages: encoded once by pyroute2, then patched
    messages.py    the rtnetlink messages themselves, with what pyroute2 0.9.7 lacks
    netlink.py     a raw rtnetlink socket: batches, requests, dumps
    reading.py     routes and nexthop objects as the kernel has them
    links.py       interfaces as the kernel tells them
    ports.py       ports and their interfaces, link events, ethtool
    sysctl.py      settings of the namespace that we are in
    refusals.py    errno and the kernel's words -> result code

Importing this package does no I/O; `from fe_datapath.linux.datapath import LinuxDatapath`.
"""
