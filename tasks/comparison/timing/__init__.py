"""How fast the teacher and both forms of the student are, on one processor, in turns.

In: model folders and texts. Out: p50, p95 and texts per second of each.
"""
