"""The laboratory in virtual time (DESIGN section 5): same cores, no sockets, no root."""
