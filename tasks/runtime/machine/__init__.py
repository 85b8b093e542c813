"""What this machine gives: device, precision, cores, memory that stays allocated.

In: nothing. Out: choices that all stages share, recorded with each artifact.
"""
