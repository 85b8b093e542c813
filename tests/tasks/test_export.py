import json
import shutil
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from data_contracts.errors import ContractViolation, SourceError
from tasks.export import STAGE, Config
from tasks.problems import load_model
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.fingerprint import content_digest
from tasks.runtime.stages import run_stage


def test_the_delivered_folder_holds_both_forms_and_all_a_reader_of_texts_needs(exported):
    """A consumer without the tokenizer, labels or normalisation answers something else."""
    names = {path.name for path in (exported.path / "model").iterdir()}
    assert names == {
        "config.json",
        "model.safetensors",
        "head.safetensors",
        "head.json",
        "labels.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "serving.json",
        "model.int8.onnx",
    }
    serving = json.loads((exported.path / "model" / "serving.json").read_text())
    assert serving["problem"] == "text_classification"
    assert serving["max_length_tokens"] == 16
    assert serving["normalization"]["unicode_form"] == "NFC"
    AutoModel.from_pretrained(exported.path / "model", add_pooling_layer=False)


def test_parity_is_measured_on_validation_texts(exported):
    """A parity figure on random token ids says nothing about the texts users send."""
    parity = json.loads((exported.path / "parity.json").read_text())
    assert parity["num_rows"] == parity["num_answers"] == 40
    assert parity["max_abs_logit_difference"] <= 1e-4
    assert parity["agreement"] >= 0.98
    model = exported.path / "model"
    assert parity["size_bytes"]["onnx_int8"] == (model / "model.int8.onnx").stat().st_size
    assert parity["size_bytes"]["onnx_int8"] < parity["size_bytes"]["safetensors"]


def test_padding_changes_no_int8_answer_beyond_rounding(exported):
    """A mask frozen at the traced shape lets padding into the pooled text vector."""
    session = onnxruntime.InferenceSession(str(exported.path / "model" / "model.int8.onnx"))
    network = load_model(exported.path / "model")
    ids = np.array([[2, 20, 30, 40, 3]], dtype=np.int64)
    for padding in (0, 1, 9):
        padded = np.pad(ids, ((0, 0), (0, padding)))
        mask = np.pad(np.ones_like(ids), ((0, 0), (0, padding)))
        found = session.run(None, {"input_ids": padded, "attention_mask": mask})[0]
        with torch.no_grad():
            expected = network(torch.from_numpy(ids), torch.ones(1, 5, dtype=torch.int64)).numpy()
        # 8-bit rounding: a few hundredths of the logits' range, measured 0.1 on a range of 10
        assert np.abs(found - expected).max() < 0.05 * np.ptp(expected)


def test_equal_students_give_equal_bytes_in_any_process(small_student, exported, tmp_path):
    """Bytes that depend on hash seeds or time register one student as two versions."""
    _, student, tokens = small_student
    program = """
import sys
from pathlib import Path
from tasks.export import STAGE, Config
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.stages import run_stage
store = ArtifactStore(Path(sys.argv[1]))
inputs = {"student": store.open(Path(sys.argv[2])), "tokens": store.open(Path(sys.argv[3]))}
print(run_stage(STAGE, Config(), inputs, store=store).artifact.content_digest)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), str(student.path), str(tokens.path)],
        env={"PYTHONHASHSEED": "17", "OMP_NUM_THREADS": "1", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.split()[-1] == exported.content_digest
    assert "Warning" not in done.stderr, done.stderr


def test_the_graph_names_nobody_and_no_path(exported, small_student):
    """Paths of the build machine in a public registry tell who built it and where."""
    data = (exported.path / "model" / "model.int8.onnx").read_bytes()
    graph = onnx.load_from_string(data)
    assert graph.producer_name == graph.producer_version == graph.doc_string == ""
    assert b"site-packages" not in data
    assert str(small_student[0].root).encode() not in data


def unsure_student(publish, folder, student, *, mean):
    """`student` with a head whose classes differ by a thousandth."""

    def blur(output):
        shutil.copytree(student.path, output, dirs_exist_ok=True)
        (output / "manifest.json").unlink()
        head = load_file(output / "model" / "head.safetensors")
        noise = torch.randn(head["weight"].shape, generator=torch.Generator().manual_seed(0))
        # With a mean of 0.25 they lie on the grid of half precision, and 16 bits tell them apart.
        head["weight"] = mean + torch.round(1e-3 * noise * 2**12) / 2**12
        head["bias"] = torch.zeros(5)
        save_file(head, output / "model" / "head.safetensors")

    return publish(ArtifactStore(folder), "student", blur)


def test_an_int8_graph_that_answers_differently_is_refused(small_student, publish, tmp_path):
    """A quantised model that flips answers would be served as if it were the evaluated student."""
    store, student, tokens = small_student
    # Weights of 5 are 0.004 apart in 16 bits, too: rounding decides between the classes.
    unsure = unsure_student(publish, tmp_path, student, mean=5)
    with pytest.raises(ContractViolation, match=r"int8 graph gives .* of 40 answers") as refused:
        run_stage(STAGE, Config(), {"student": unsure, "tokens": tokens}, store=store)
    assert "min_int8_agreement" in str(refused.value)


def test_what_8_bits_do_not_serve_is_delivered_in_16(small_student, publish, tmp_path):
    """A student that answers well is refused after hours of training, for its form alone."""
    store, student, tokens = small_student
    unsure = unsure_student(publish, tmp_path, student, mean=0.25)
    inputs = {"student": unsure, "tokens": tokens}
    found = run_stage(STAGE, Config(min_int8_agreement=0.97), inputs, store=store).artifact
    parity = json.loads((found.path / "parity.json").read_text())
    assert parity["agreement"] >= 0.97
    assert not parity["int8_embeddings"]
    # Its classes differ in the head alone.
    assert any("/head/" in name for name in parity["products_in_fp32"])
    assert len(parity["products_in_fp32"]) < parity["num_products"]
    graph = onnx.load(found.path / "model" / "model.int8.onnx")
    (head,) = (one for one in graph.graph.initializer if len(one.dims) == 2 and one.dims[1] == 5)
    assert head.data_type == onnx.TensorProto.FLOAT16


def test_a_graph_that_departs_from_the_network_is_refused(small_student):
    """A silently wrong export answers wrongly in production only."""
    store, student, tokens = small_student
    strict = Config(max_logit_difference=1e-12)
    with pytest.raises(ContractViolation, match="logits differ"):
        run_stage(STAGE, strict, {"student": student, "tokens": tokens}, store=store)


def test_without_validation_texts_nothing_is_exported(small_student, publish, tmp_path):
    """Parity on nothing is no parity."""
    store, student, _ = small_student

    def write(output):
        (output / "tokens.json").write_text('{"pad_token_id": 0, "max_length_tokens": 16}')

    empty = publish(ArtifactStore(tmp_path), "tokens", write)
    with pytest.raises(SourceError, match="no validation rows"):
        run_stage(STAGE, Config(), {"student": student, "tokens": empty}, store=store)


def test_content_digest_covers_every_delivered_file(exported):
    """A file outside the digest can change unseen."""
    assert exported.content_digest == content_digest(
        (entry.path, entry.sha256) for entry in exported.manifest.files
    )
    assert "model/model.int8.onnx" in {entry.path for entry in exported.manifest.files}
