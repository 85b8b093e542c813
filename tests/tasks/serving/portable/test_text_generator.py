import hashlib
import json

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server
from starlette.testclient import TestClient

from tasks import export
from tasks.corpus.tables import write_table
from tasks.modeling.encoder_decoder.config import DecodingConfig, Seq2SeqShape
from tasks.modeling.encoder_decoder.network import (
    Seq2SeqTokens,
    build_seq2seq,
    load_seq2seq,
    save_seq2seq,
)
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.stages import run_stage
from tasks.serving.bundle.bundle import requirements, write_bundle
from tasks.serving.bundle.interfaces import INTERFACES
from tasks.serving.bundle.pyfunc import save_model
from tasks.serving.bundle.verification import verify_model
from tasks.training.batching.ragged import RaggedIds
from tasks.training.sequences.generation import load_reader, to_texts, write

TEXTS = [
    "打开客厅的灯",
    "关闭卧室的灯",
    "厨房现在几度",
    "在书房播放音乐",
    "把浴室的亮度调到百分之五十",
]
DECODING = DecodingConfig(num_beams=3, max_length_tokens=10, length_penalty=0.8)


@pytest.fixture(scope="module")
def writer(tmp_path_factory, publish, small_tokenizer):
    """(export folder, MLflow folder) of a translator with random weights."""
    return made_writer("translation", tmp_path_factory.mktemp("writer"), publish, small_tokenizer)


def made_writer(problem, home, publish, small_tokenizer, decoding=DECODING):
    """The same of any problem that writes."""
    store = ArtifactStore(home)
    tokenizer = type(small_tokenizer).from_str(small_tokenizer.to_str())
    tokenizer.no_truncation()
    size = tokenizer.get_vocab_size()

    def write_student(output):
        torch.manual_seed(1)
        shape = Seq2SeqShape(
            encoder_layers=1, decoder_layers=1, hidden_size=32, num_heads=2, intermediate_size=64
        )
        model = build_seq2seq(shape, Seq2SeqTokens(size, 0, 3, 16)).eval()
        with torch.no_grad():  # far from even, so that texts differ
            model.get_input_embeddings().weight.mul_(3.0)
        folder = output / "model"
        save_seq2seq(model, folder, decoding)
        tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text("{}")
        (folder / "labels.json").write_text('{"labels": []}')
        head = {"problem": problem, "target_language": "zh"}
        head |= {"max_length_tokens": 16, "decoding": decoding.model_dump()}
        (folder / "head.json").write_text(json.dumps(head))
        for name in ("history", "training"):
            (output / f"{name}.json").write_text("{}")

    def write_tokens(output):
        ids = [encoding.ids for encoding in tokenizer.encode_batch(TEXTS)]
        keys = [hashlib.sha256(text.encode()).hexdigest()[:32] for text in TEXTS]
        table = pa.table({"example_id": keys, "input_ids": pa.array(ids, pa.list_(pa.int32()))})
        write_table(table, output / "validation" / "part-00000.parquet")
        facts = {"vocab_size": size, "pad_token_id": 0, "max_length_tokens": 16}
        (output / "tokens.json").write_text(json.dumps(facts))

    inputs = {
        "student": publish(store, "student", write_student),
        "tokens": publish(store, "tokens", write_tokens),
    }
    made = run_stage(export.STAGE, export.Config(), inputs, store=store).artifact.path
    bundle, folder = store.root / "bundle", store.root / "mlflow"
    bundle.mkdir()
    wanted = requirements(repair_encoding=False)
    digest = write_bundle(
        bundle,
        model=made / "model",
        script=INTERFACES[problem].script,
        pip_requirements=wanted,
        documents={"MODEL_CARD.md": "# a test\n"},
    )
    save_model(
        folder,
        problem=problem,
        bundle=bundle,
        digest=digest,
        pip_requirements=wanted,
        examples=("打开客厅的灯",),
    )
    return made, folder


@pytest.fixture(scope="module")
def loaded(writer):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
        return mlflow.pyfunc.load_model(str(writer[1]))


def evaluated(folder, decoding=DECODING):
    """What the engine's own search writes, with which the model was evaluated."""
    reader = load_reader(folder / "model")
    ids = [np.asarray(one.ids, dtype=np.int32) for one in reader.encode_batch(TEXTS)]
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in ids])]).astype(np.int64)
    found = write(
        load_seq2seq(folder / "model"),
        RaggedIds(np.concatenate(ids), offsets),
        decoding,
        pad_token_id=0,
        vocab_size=reader.get_vocab_size(),
    )
    return to_texts(reader, [hypotheses[0] for hypotheses in found])


def test_texts_are_those_that_were_evaluated(writer, loaded):
    """A search of other settings delivers another model than the report describes."""
    found = loaded.predict(pd.DataFrame({"text": TEXTS}))
    assert found["translation"].tolist() == evaluated(writer[0])
    assert len(set(found["translation"])) > 1
    parity = json.loads((writer[0] / "parity.json").read_text())
    assert (parity["agreement"], parity["num_answers"]) == (1.0, 5)


def test_a_chinese_request_is_answered_over_http(loaded):
    """A model that loads here and answers 500 there."""
    client = TestClient(scoring_server.init(loaded))
    answer = client.post("/invocations", json={"dataframe_records": [{"text": TEXTS[0]}]})
    assert answer.status_code == 200
    assert list(answer.json()["predictions"][0]) == ["translation"]
    answer = client.post("/invocations", json={"dataframe_records": [{"text": "\u200b"}]})
    assert answer.status_code == 400
    assert "an empty text" in answer.json()["message"]


@pytest.mark.parametrize("problem", ["summarization", "generation"])
def test_what_is_written_stands_in_the_column_that_is_promised(
    problem, tmp_path, publish, small_tokenizer
):
    """A summary under the name of a translation: the consumer reads a column that is not there."""
    _, folder = made_writer(problem, tmp_path, publish, small_tokenizer)
    loaded = mlflow.pyfunc.load_model(str(folder))
    found = loaded.predict(pd.DataFrame({"text": TEXTS[:2]}))
    [promised] = [column.name for column in INTERFACES[problem].outputs]
    assert list(found.columns) == [promised]
    client = TestClient(scoring_server.init(loaded))
    answer = client.post("/invocations", json={"dataframe_records": [{"text": TEXTS[0]}]})
    assert answer.json() == {"predictions": [{promised: found[promised][0]}]}


def test_parameters_change_the_search_and_are_checked(writer, loaded):
    rows = pd.DataFrame({"text": TEXTS})
    greedy = DecodingConfig(num_beams=1, max_length_tokens=6)
    found = loaded.predict(rows, params={"num_beams": 1, "max_length": 6})
    assert found["translation"].tolist() == evaluated(writer[0], greedy)
    with pytest.raises(MlflowException, match="max_length is 11: it must be between 1 and 10"):
        loaded.predict(rows, params={"max_length": 11})
    with pytest.raises(MlflowException, match="num_beams is 0"):
        loaded.predict(rows, params={"num_beams": 0})


def test_order_and_index_survive(loaded):
    """Texts are written longest first: answers in that order belong to other rows."""
    rows = pd.DataFrame({"text": TEXTS}, index=list("abcde"))
    together = loaded.predict(rows)
    assert together.index.tolist() == list("abcde")
    for key, text in zip("abcde", TEXTS, strict=True):
        alone = loaded.predict(pd.DataFrame({"text": [text]}), params={"batch_size": 1})
        assert alone["translation"].tolist() == [together["translation"][key]]
    assert loaded.predict(rows.iloc[:0])["translation"].tolist() == []


def test_a_changed_file_is_refused(writer, tmp_path):
    """Weights or search settings exchanged after registration: another model under its name."""
    import shutil

    assert verify_model(writer[1], was_loaded=True)
    for name in ("generation_config.json", "model.safetensors"):
        copy = shutil.copytree(writer[1], tmp_path / name)
        path = copy / "artifacts" / "bundle" / "model" / name
        path.write_bytes(path.read_bytes() + b" ")
        spoilt = mlflow.pyfunc.load_model(str(copy))
        with pytest.raises(MlflowException, match=f"{name} does not match its digest"):
            spoilt.predict(pd.DataFrame({"text": TEXTS[:1]}))


def test_lengths_that_contradict_each_other_are_refused(loaded):
    """Asked for at least nine tokens, it wrote three and said so to nobody but its log."""
    rows = pd.DataFrame({"text": TEXTS[:1]})
    with pytest.raises(MlflowException, match="min_length is 9 and max_length 3"):
        loaded.predict(rows, params={"min_length": 9, "max_length": 3})
    params = {"min_length": 3, "max_length": 3, "num_beams": None}  # null: as it was evaluated
    (written,) = loaded.predict(rows, params=params)["translation"]
    assert len(written.split()) == 3


def test_a_length_below_the_models_own_least_is_refused(tmp_path_factory, publish, small_tokenizer):
    """Asked for three tokens at most, a summarizer of at least eight told only its log."""
    decoding = DECODING.model_copy(update={"min_length_tokens": 8})
    home = tmp_path_factory.mktemp("lengthy")
    _, folder = made_writer("summarization", home, publish, small_tokenizer, decoding)
    loaded = mlflow.pyfunc.load_model(str(folder))
    rows = pd.DataFrame({"text": TEXTS[:1]})
    with pytest.raises(MlflowException, match=r"min_length is 8 \(the model's own\) and max_leng"):
        loaded.predict(rows, params={"max_length": 3})
    (written,) = loaded.predict(rows, params={"min_length": 0, "max_length": 3})["summary"]
    assert len(written.split()) <= 3
    (written,) = loaded.predict(rows, params={"max_length": 8})["summary"]
    assert len(written.split()) == 8
