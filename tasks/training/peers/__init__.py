"""Networks that teach one another.

mutual.py          the rows that all of them read, and what they minimise; mutual_config.py
mutual_fitting.py  from untrained peers to the first one's model folder; a teacher's drift
"""
