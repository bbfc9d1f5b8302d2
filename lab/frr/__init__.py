"""The FRR baseline (`system: frr`): every FE is a router with zebra, ospfd and bfdd.

configuration.py   what the daemons are told, from a topology and a cell's settings
router.py          the process of a node: starts the daemons, starts again what died
beacon.py          numbered routes, given to OSPF at two routers
element.py         the network element, for the lab
tables.py          the kernel's OSPF routes beside zebra's
"""
