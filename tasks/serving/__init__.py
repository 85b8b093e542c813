"""The delivered student: how it is packed, checked, registered and asked.

    interfaces.py        what each problem's model is asked and answers, in words and types
    portable/            the scripts that answer: all that a consumer runs
    assembly.py          one of them, with what it imports from here, as one file

    onnx_export.py       network → fp32 ONNX graph → int8 graph           (for tasks.export)
    writer_export.py     a model that writes texts, searched as it was evaluated
    parity.py            how alike two forms of a model answer real rows
    bundle.py            files + card + lineage + digests → one folder    (for tasks.registration)
    model_card.py        what a reader of the registry must know, as Markdown
    example_texts.py     a greeting a language, for recipes that name no input example
    delivered.py         models:/name@alias or a folder → verified model files
    networks.py          both forms, asked for many texts at once
    texts.py answering.py scoring.py   a file of texts → a file of answers, in flat memory
    scoring_output.py    what that file may replace, and that it appears whole
    verification.py      is this folder ours and untouched? asked before it is loaded
    gates.py             the recipe's conditions on a student, read off the evaluation report
    champion.py          one of them: not worse than the version in use
    records.py           versions, alias changes, safe names
    databases.py         MLflow: a local database, made whole or not at all
    registry.py          MLflow: connection, versions, aliases and their audit trail
    tracking.py          MLflow: one run a registration, with figures, curves and the report
    pyfunc.py            MLflow: a bundle as a model with its problem's signature

Whoever loads the model needs the one script in its folder and its pinned requirements.
"""
