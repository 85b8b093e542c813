"""Comparing: every system answers its test set, and three of them are timed.

    artifacts ─► material   which folders and rows are compared: tables, texts, logits joined by id
              ─► answers    teacher (from its signals), students of all seeds, floors
              ─► timing     teacher, safetensors student, int8 student on one processor, in turns
              ─► diagnosis  how far the student followed the teacher

`tasks.evaluation` puts these into the report; the arithmetic is in `tasks.metrics`.
"""
