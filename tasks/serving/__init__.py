"""The delivered student: how it is packed, checked, registered and asked.

    onnx_export.py       network → fp32 ONNX graph → int8 graph           (for tasks.export)
    bundle.py            files + card + lineage + digests → one folder    (for tasks.registration)
    model_card.py        what a reader of the registry must know, as Markdown
    example_texts.py     a greeting a language, for recipes that name no input example
    delivered.py         models:/name@alias or a folder → verified model files
    networks.py          both forms, asked for many texts at once
    texts.py scoring.py  a file of texts → a file of labels, in flat memory
    text_classifier.py   the one script a consumer runs: MLflow models-from-code, nothing of ours
    verification.py      is this folder ours and untouched? asked before it is loaded
    gates.py             the recipe's conditions on a student, read off the evaluation report
    champion.py          one of them: not worse than the version in use
    records.py           versions, alias changes, safe names
    registry.py          MLflow: connection, versions, aliases and their audit trail
    tracking.py          MLflow: one run a registration, with figures, curves and the report

Whoever loads the model needs only `text_classifier.py` and its pinned requirements.
"""
