"""The back end that runs a topology on this machine: Mininet, in a sandbox."""
