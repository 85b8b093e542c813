"""One engine for all training: teacher, student, baseline, adaptation.

In: tokens and teacher signals, memory-mapped. Out: a model folder and a history.
Order: batching, objectives (losses), optimization, engine, fitting.
"""
