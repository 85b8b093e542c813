"""Whether the sections of a recipe fit one another, its data and its models: told before any step.

problem.py     which fields a problem can use, and which gates its report can answer;
               seq2seq.py: the same for models that write texts; sentence_embedding.py: for vectors
roles.py       rows that teachers, students and baselines are trained on
reading.py     fields of how texts are read; languages.py: readers' languages against the sources'
start.py       what the models that a recipe starts from do not have
layer.py       which layers can be compared; trainable.py: which can be trained
companion.py   which names loss terms may have beside companions
adversary.py   which adversaries have something to tell apart
adaptation.py  text that encoders read on in
"""
