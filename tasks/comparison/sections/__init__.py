"""Sections of the report that do not depend on the problem.

In: answers of the compared systems. Out: tables by language, domain, length, confidence.
"""
