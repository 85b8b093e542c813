"""CoNLL files as they are found: CoNLL-2003, UNER, CoNLL-U Plus, and broken ones."""

import pytest
from pydantic import ValidationError

from data_contracts.errors import SourceError
from tasks.corpus.changes import Changes
from tasks.corpus.filtering import FilterConfig
from tasks.corpus.readers.raw_rows import RawRow
from tasks.corpus.rows.kind import RowRules
from tasks.corpus.rows.spans import SpanRows
from tasks.corpus.sources.files import read_rows, source_files
from tasks.corpus.sources.source import FileSource
from tasks.corpus.text.normalization import NormalizationConfig


def read(path, text, *, words="1", tags="last"):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    source = FileSource.model_validate(
        {
            "name": "made",
            "format": "conll",
            "uri": str(path),
            "role": "train",
            "language": "en",
            "columns": {"words": words, "tags": tags},
        }
    )
    batches = list(read_rows(source, source_files(source)[0]))
    rows = [
        (line, row.others["words"], row.others["tags"])
        for batch in batches
        for line, row in batch.rows()
    ]
    return rows, [(r.line, r.reason) for batch in batches for r in batch.rejected]


def test_conll_2003_is_read(tmp_path):
    """The document mark became a sentence of one word, tagged O."""
    text = (
        "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\n# NN B-NP O\n1 CD I-NP O"
    )
    rows, rejected = read(tmp_path / "a.conll", text)
    assert rows == [(3, ["EU", "rejects"], ["B-ORG", "O"]), (6, ["#", "1"], ["O", "O"])]
    assert rejected == []


def test_uner_is_read_with_its_comments_and_spaces_in_words(tmp_path):
    """Annotators' columns behind the tag were taken for it; comments for words."""
    text = (
        "# sent_id = weblog-1\n# text = In New York City\n1\tIn\tO\t-\t-\n2-3\tNew York\t_\t-\t-\n"
        "2\tNew York\tB-LOC\t-\t-\n3\tCity\tI-LOC\t-\t-\r\n\r\n\n"
        "# sent_id = weblog-2\n1\tJa\tO\t-\t-\n"
    )
    rows, _ = read(tmp_path / "b.iob2", text, words="2", tags="3")
    assert rows == [(3, ["In", "New York", "City"], ["O", "B-LOC", "I-LOC"]), (10, ["Ja"], ["O"])]


def test_columns_are_found_by_the_names_that_the_file_gives(tmp_path):
    """The lemma was read in place of the tag."""
    text = "# global.columns = ID FORM LEMMA NER\n1\tHäuser\tHaus\tO\n"
    rows, _ = read(tmp_path / "c.conllup", text, words="FORM", tags="NER")
    assert rows == [(2, ["Häuser"], ["O"])]
    with pytest.raises(SourceError, match="no column 'TAG'"):
        read(tmp_path / "c.conllup", text, words="FORM", tags="TAG")


def test_a_broken_line_costs_its_sentence_only(tmp_path):
    """One bad byte of a million lines, and the file was refused, or the sentence kept in part."""
    text = b"a O\nb\xff O\n\nc O\n\nd X O\n"
    rows, rejected = read(tmp_path / "d.txt", text, tags="3", words="1")
    assert rows == [(6, ["d"], ["O"])]
    assert rejected == [(1, "wrong_column_count"), (4, "wrong_column_count")]
    rows, rejected = read(tmp_path / "d.txt", text, tags="2", words="1")
    assert rejected == [(1, "invalid_utf8")]
    assert [row[0] for row in rows] == [4, 6]


def test_a_conll_source_names_its_words():
    """Without columns, whole lines would be read as words."""
    with pytest.raises(ValidationError, match=r"columns\.words"):
        FileSource.model_validate(
            {"name": "a", "format": "conll", "uri": "x", "role": "train", "language": "en"}
        )


def test_words_with_a_hash_are_words_from_the_first_line_on(tmp_path):
    """The first word of a file of tweets was taken for a comment, and its tag with it."""
    rows, _ = read(tmp_path / "e.tsv", "#Berlin\tB-LOC\nregnet\tO\n\n#Ulm\tB-LOC\n")
    assert rows == [(1, ["#Berlin", "regnet"], ["B-LOC", "O"]), (4, ["#Ulm"], ["B-LOC"])]
    comments = (
        "# text = Ja\tdoch\n# newdoc\n# sent_id = 1\n# ID\tNER\n#begin document (a); part 0\n"
    )
    rows, _ = read(tmp_path / "f.tsv", comments + "Ja\tO\n")
    assert rows == [(6, ["Ja"], ["O"])]


@pytest.mark.parametrize("space", ["\u3000", "\u00a0", "\u2003"])
@pytest.mark.parametrize("parted", [" ", "\t"])
def test_a_word_of_white_space_stays_with_its_tag(tmp_path, space, parted):
    """Its tag O became a word, and its sentence read 我O在北京 in training."""
    lines = [("我", "O"), (space, "O"), ("在", "O"), ("北京", "B-LOC")]
    text = "".join(f"{parted.join(line)}\n" for line in lines)
    rows, rejected = read(tmp_path / "g.txt", text)
    assert (rows, rejected) == ([(1, [w for w, _ in lines], [t for _, t in lines])], [])
    rules = RowRules(
        problem="token_classification",
        source="made",
        language="zh",
        parallel_language=None,
        needs_label=True,
        normalization=NormalizationConfig(),
        filters=FilterConfig(check_language=False),
        keep_quarantined_text=False,
    )
    ((_, words, tags),) = rows
    row = RawRow(" ".join(words), None, None, {"words": words, "tags": tags})
    prepared = SpanRows().prepare(row, rules, Changes())
    assert (prepared.text, prepared.extra) == ("我在北京", ([2], [4], ["LOC"]))


def test_spaces_may_be_many_and_stand_in_front(tmp_path):
    """Files with aligned columns had empty cells between their words and tags."""
    rows, rejected = read(tmp_path / "h.txt", "  Anna   NNP  B-PER  \n  in     IN   O\r\n")
    assert (rows, rejected) == ([(1, ["Anna", "in"], ["B-PER", "O"])], [])


@pytest.mark.parametrize(
    ("line", "words", "tags"),
    [("O", "1", "last"), ("1 O", "2", "last"), ("O", "last", "1")],
)
def test_one_cell_is_not_a_word_and_its_tag(tmp_path, line, words, tags):
    """A line that had lost its word: the tag was read as both."""
    text = f"1 a O\n{line}\n\n2 b O\n"
    rows, rejected = read(tmp_path / "i.txt", text, words=words, tags=tags)
    assert rejected == [(1, "wrong_column_count")]
    assert [row[0] for row in rows] == [4]
