"""Telling: one `EvaluationReport` as sentences, tables, plots and a page. Measures nothing.

    report ─► wording   the verdict and each comparison in words, with their sign
           ─► tables    the result table: console, Markdown and HTML share its cells
           ─► plots     PNG bytes: confusions, reliability, learning curves, quality against size
                        (part_plots: parts of test sets, classes, curves; drawing: how all look)
    trials ─► trade_off quality against time, and those that no other beats
           ─► page      report.html: self-contained, for laptop and phone, light and dark

The page holds example counts and scores, never a user's text.
"""
