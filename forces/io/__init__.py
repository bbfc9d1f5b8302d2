"""The only part of `forces` with sockets, clocks and files."""
