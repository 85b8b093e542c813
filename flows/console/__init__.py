"""What the terminal shows while a run goes on, and the options all commands share.

In: events of steps. Out: lines and a progress bar; nothing here computes.
"""
