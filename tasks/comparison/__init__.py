"""Comparing: every system answers its test set, and three of them are timed.

    artifacts ─► material   which folders and rows are compared: tables, texts, logits joined by id
              ─► problems/  one file a problem type: rows, answers, floors, sections of the report
              ─► answers    teacher (from its signals), students of all seeds, floors; as Parquet
              ─► timing     teacher, safetensors student, int8 student on one processor, in turns
                            (forms, writers: how each of them is called; answering: text in,
                            logits out, as a user of the model waits for them)
              ─► diagnosis  how far the student followed the teacher
              ─► domains    scores by domain
              ─► lengths    scores by the length of texts or answers
              ─► selective  scores of the answers that a system is surest of
              ─► languages  scores by language, of students that read several
              ─► agreement  how often the student answers as the teacher, language by language
              ─► learning   what its training noted: shares of loss terms, drift, warnings
              ─► structured answers that are more than a class's name, as JSON

`problem` is the interface between the first two lines.

`tasks.evaluation` puts these into the report; the arithmetic is in `tasks.metrics`.
"""
