"""Faults (DESIGN section 9): what breaks a network element, with its undo and its witness."""
