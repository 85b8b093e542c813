"""What is trained or kept beside a student, and left behind when it is saved.

company.py              a student with the companions that its recipe gives it
companions.py           a student and its companions as one network that reads once
companion_objective.py  the task's terms plus those of each companion; their shares
layer_matching.py       layers of the student against those of the teacher, which reads beside it;
                        layer_views.py: what is read out of a layer; projections.py: bridges of
                        widths; token_alignment.py: whether both read the same tokens;
                        matching_config.py: recipe fields
adversary.py            a classifier of languages or domains that the encoder learns to mislead;
                        adversary_config.py
ema.py                  the running average of the student's own weights; ema_config.py
"""
