"""The LFB classes of this FE: one file per family, which binds instances to ports and kernel."""
