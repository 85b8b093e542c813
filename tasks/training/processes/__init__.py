"""One training in several processes.

distributed.py    one step over all of them: DDP or FSDP2, the gradient of one process
launching.py      torchrun around a stage's function; ranks.py is what each process runs
"""
