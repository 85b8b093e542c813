"""What several teachers say, as what one says.

teacher_opinions.py     their signals side by side
teacher_averaging.py    and as one; combined_thresholds.py: what decides beside the largest logit
teacher_languages.py    what they count by how near their languages are: language_similarity.py, by
                        cosines, language_identification.py, as a trained identifier has it
"""
