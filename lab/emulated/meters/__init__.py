"""The instruments of a trial (DESIGN section 3): probes, beacons, captures, kernels looked at."""
