"""The OpenFlow baseline: what an SDN user would pick instead of ForCES (docs/baselines.md).

An FE of the topology becomes an Open vSwitch bridge in the FE's namespace (`switch`), a CE a Ryu
controller with a MASTER or SLAVE role (`controller`, the only file that imports ryu). `election`
says who is master, `peers` carries its heartbeats, `flows` turns routes into FlowMods, `element`
plugs all of it into the lab, `flow_listener` and `tables` are the instruments.
"""
