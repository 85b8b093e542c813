"""What a consumer runs: one script a problem, assembled into a single file when it is registered.

    text_classifier.py        text                → label, score
    multilabel_classifier.py  text                → labels over their thresholds, scores
    pair_classifier.py        text, text_b        → label, score
    token_classifier.py       text                → entities with character offsets
    question_answerer.py      question, context   → answer, score, start, end
    text_embedder.py          text                → embedding, of unit length
    text_generator.py            text                → translation, summary or reply

    foundation.py             digests, normalisation, tokenizer, both network forms: every script's
    whole_texts.py            texts cut as in training: scripts that read one text a row
    origins.py                normalised characters → characters of the text as it was given
    windows.py                a long text in overlapping pieces, and their answers made one

MLflow's models-from-code takes one file, and a model that carries modules of its own is what
`tasks.serving.bundle.verification` refuses. So `tasks.serving.bundle.assembly` writes what a script
imports from this repository into the script itself. Whatever is imported here must need nothing
beyond the standard library and the requirements that `tasks.serving.bundle.bundle` pins.
"""
