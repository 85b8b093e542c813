import pytest
from pydantic import ValidationError

from tasks.serving.registry.gates import GatesConfig, champion_gate, report_gates

TRAINED = {"steps_done": 30, "steps_planned": 30, "stopped_early": False}
OFF = dict.fromkeys(GatesConfig.model_fields, None) | {"gain_over_no_kd_by": "estimate"}


def only(gates):
    found = [gate for gate in gates if gate.name != "training_complete"]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(("margin", "passes"), [(3.5, True), (3.0, True), (2.9, False)])
def test_non_inferiority_asks_the_lower_end(make_report, margin, passes):
    """A difference of -1 ± 2 points passed as `within 2 points` is luck half of the time."""
    report = make_report(vs_teacher=(-0.01, -0.03))
    config = GatesConfig(**{**OFF, "max_drop_vs_teacher": margin})
    gate = only(report_gates(config, report, TRAINED))
    assert (gate.value, gate.threshold, gate.passed) == (-3.0, -margin, passes)


@pytest.mark.parametrize("poor", ["safetensors", "onnx_int8"])
def test_a_poor_delivered_model_does_not_pass_on_its_siblings_merits(make_report, poor):
    """Seeds 1 and 2 are good, seed 0 is not, the mean passes, and seed 0 is what ships."""
    delivered = {"safetensors": (-0.01, -0.02), "onnx_int8": (-0.01, -0.02), poor: (-0.05, -0.07)}
    report = make_report(vs_teacher=(-0.01, -0.02), delivered_vs_teacher=delivered)
    config = GatesConfig(**{**OFF, "max_drop_vs_teacher": 6.0})
    gate = only(report_gates(config, report, TRAINED))
    assert (gate.value, gate.passed) == (-7.0, False)
    assert f"delivered model (student, seed 0, {poor})" in gate.detail


def test_the_gain_is_that_of_the_method_over_all_seeds(make_report):
    """One lucky or unlucky seed would decide whether distillation is said to help."""
    report = make_report(vs_no_kd=(0.02, 0.01))
    student = report.systems["student"]
    three = student.model_copy(update={"seeds": student.seeds * 3})
    report = report.model_copy(update={"systems": {**report.systems, "student": three}})
    config = GatesConfig(**{**OFF, "min_gain_over_no_kd": 0.0})
    gate = only(report_gates(config, report, TRAINED))
    assert gate.value == 2.0
    assert "Student (mean of 3 seeds) minus Hard pseudo-labels" in gate.detail


@pytest.mark.parametrize(("by", "value"), [("estimate", 2.0), ("interval", -1.0)])
def test_the_gain_is_asked_as_stated(make_report, by, value):
    """`At least 0 points` means two things; the recipe says which."""
    report = make_report(vs_no_kd=(0.02, -0.01))
    config = GatesConfig(**{**OFF, "min_gain_over_no_kd": 0.0, "gain_over_no_kd_by": by})
    gate = only(report_gates(config, report, TRAINED))
    assert (gate.value, gate.passed) == (value, value >= 0)


@pytest.mark.parametrize(
    ("asked", "passes"), [(1.0, True), (2.0, True), (2.1, False), (0.0, True), (-3.0, True)]
)
def test_the_floor_that_the_student_is_least_above_decides(make_report, asked, passes):
    """Ninety points above the majority class, and no better than a linear classifier."""
    report = make_report(vs_floors={"majority": (0.9, 0.88), "linear": (0.05, 0.02)})
    config = GatesConfig(**{**OFF, "min_gain_over_floor": asked})
    gate = only(report_gates(config, report, TRAINED))
    assert (gate.name, gate.value, gate.threshold) == ("gain_over_floor", 2.0, asked)
    assert gate.passed is passes
    assert gate.detail.startswith("Student minus linear: +5.0 points [+2.0, +8.0] at 95%")
    assert gate.detail.endswith("asked of the lower end")


@pytest.mark.parametrize(("asked", "passes"), [(0.0, False), (0.1, False), (-1.0, True)])
def test_a_student_that_answers_as_a_floor_does_is_not_above_it(make_report, asked, passes):
    """65.0 % and a majority class of 65.0 %: the difference is 0 for sure, so `at least 0`."""
    report = make_report(accuracy=0.65, vs_floors={"majority": (0.0, 0.0)})
    config = GatesConfig(**{**OFF, "min_gain_over_floor": asked})
    gate = only(report_gates(config, report, TRAINED))
    assert (gate.value, gate.passed) == (0.0, passes)


@pytest.mark.parametrize("poor", ["safetensors", "onnx_int8"])
def test_a_delivered_form_below_a_floor_does_not_pass_on_its_siblings_merits(make_report, poor):
    """Seeds 1 and 2 learned, seed 0 says one class for everything, and seed 0 is what ships."""
    report = make_report(vs_floors={"majority": (0.3, 0.25), "linear": (0.1, 0.05)})
    form = report.variants[poor].model_copy(update={"scores": {"accuracy": 0.83}})
    report = report.model_copy(update={"variants": {**report.variants, poor: form}})
    config = GatesConfig(**{**OFF, "min_gain_over_floor": 1.0})
    gate = only(report_gates(config, report, TRAINED))
    assert (gate.value, gate.passed) == (-2.0, False)
    assert f"delivered model (student, seed 0, {poor}) minus linear: -2.0 points" in gate.detail


def test_a_floor_that_is_not_asked_changes_no_key(make_report):
    """A new gate, null by default: every student on record would be registered once more."""
    assert "min_gain_over_floor" not in GatesConfig().model_dump()
    assert GatesConfig(min_gain_over_floor=0).model_dump()["min_gain_over_floor"] == 0
    report = make_report(vs_floors={"majority": (-0.1, -0.2)})
    names = [gate.name for gate in report_gates(GatesConfig(), report, TRAINED)]
    assert "gain_over_floor" not in names


def test_a_gate_nobody_measured_fails(make_report):
    """Switching a baseline off must not switch its gate off in silence."""
    report = make_report()
    missing = {"comparisons": report.comparisons[:1], "delivered_comparisons": (), "variants": {}}
    report = report.model_copy(update=missing)
    gates = report_gates(GatesConfig(min_gain_over_floor=-100), report, TRAINED)
    assert {gate.name for gate in gates if not gate.passed} == {
        "non_inferior_to_teacher",
        "gain_over_no_kd",
        "gain_over_floor",
        "latency_ms_p50",
        "size_mb",
        "int8_agreement",
    }


def test_the_slowest_and_largest_variant_decides(make_report):
    """A limit met by the variant nobody asks for."""
    report = make_report(latency=10.0, size=5_000_000)
    fast = report.variants["onnx_int8"].model_copy(
        update={"latency_ms_p50": 1.0, "size_bytes": 1_000_000}
    )
    report = report.model_copy(update={"variants": {**report.variants, "onnx_int8": fast}})
    config = GatesConfig(**{**OFF, "max_latency_ms_p50": 5.0, "max_size_mb": 5.0})
    found = {gate.name: gate for gate in report_gates(config, report, TRAINED)}
    assert (found["latency_ms_p50"].value, found["latency_ms_p50"].passed) == (10.0, False)
    assert (found["size_mb"].value, found["size_mb"].passed) == (5.0, True)


@pytest.mark.parametrize(
    ("training", "passes"),
    [
        (TRAINED, True),
        ({**TRAINED, "steps_done": 29}, False),
        ({**TRAINED, "steps_done": 29, "stopped_early": True}, True),
    ],
)
def test_training_must_have_run_to_its_end(make_report, training, passes):
    """A checkpoint of an interrupted run looks like a model."""
    (gate,) = report_gates(GatesConfig(**OFF), make_report(), training)
    assert gate.passed is passes
    assert gate.detail.endswith("stopped early on validation") is training["stopped_early"]


def test_only_the_primary_metric_of_the_student_is_asked(make_report):
    """A metric that is reported beside it, or another system's loss, refused good students; a
    secondary metric's gain hid a loss."""
    report = make_report(vs_teacher=(-0.01, -0.02), vs_no_kd=(0.02, 0.01))
    worse = {"difference": -0.5, "low": -0.6, "high": -0.4}
    secondary, others = {**worse, "metric": "macro_f1"}, {**worse, "of": "supervised"}
    assert report.primary.name != "macro_f1"
    added = [
        *(one.model_copy(update=secondary) for one in report.comparisons),
        *(one.model_copy(update=others) for one in report.comparisons),
    ]
    delivered = [one.model_copy(update=secondary) for one in report.delivered_comparisons]
    report = report.model_copy(
        update={
            "comparisons": (*added, *report.comparisons),
            "delivered_comparisons": (*delivered, *report.delivered_comparisons),
        }
    )
    config = GatesConfig(**{**OFF, "max_drop_vs_teacher": 6.0, "min_gain_over_no_kd": 0.0})
    _, teacher, gain = report_gates(config, report, TRAINED)
    assert (teacher.value, teacher.passed) == (-2.0, True)
    assert (gain.value, gain.passed) == (2.0, True)


@pytest.mark.parametrize(("by", "value"), [("estimate", 1.0), ("interval", -4.0)])
def test_of_several_baselines_the_worst_in_the_figure_asked_decides(make_report, by, value):
    """The baseline of the smallest difference is not that of the lowest interval: the doubt that
    should refuse a student was another's."""
    report = make_report(vs_no_kd=(0.02, -0.04))  # doubtful
    sure = {"difference": 0.01, "low": 0.005, "high": 0.015}
    added = [one.model_copy(update=sure) for one in report.comparisons]
    report = report.model_copy(update={"comparisons": (*report.comparisons, *added)})
    config = GatesConfig(**{**OFF, "min_gain_over_no_kd": 0.0, "gain_over_no_kd_by": by})
    gate = only(report_gates(config, report, TRAINED))
    assert (gate.value, gate.passed) == (value, value >= 0)
    figure = "difference" if by == "estimate" else "lower end"
    assert gate.detail.endswith(f", paired; asked of the {figure}")


@pytest.mark.parametrize(("agreement", "passes"), [(0.979, False), (0.98, True), (1.0, True)])
def test_an_int8_form_that_answers_otherwise_is_refused(make_report, agreement, passes):
    """What quantisation broke is registered, with the scores of the form that is whole."""
    report = make_report(agreement=agreement)
    config = GatesConfig(**{**OFF, "min_int8_agreement": 0.98})
    gate = only(report_gates(config, report, TRAINED))
    assert (gate.name, gate.value, gate.passed) == ("int8_agreement", agreement, passes)
    assert gate.detail.startswith(f"{agreement:.1%} of the test texts")


def test_the_loss_against_the_champion_is_told_in_points():
    """A fraction compared with points lets every successor pass; a loss of just what is allowed
    is allowed."""
    config = GatesConfig(not_worse_than_champion_by=1.5)
    gate = champion_gate(config, difference=0.2, low=-0.015, detail="")
    assert gate is not None
    assert (gate.value, gate.threshold, gate.passed) == (-1.5, -1.5, True)
    gate = champion_gate(config, difference=-0.01501, low=None, detail="")
    assert gate is not None
    assert (gate.value, gate.passed) == (-1.501, False)


def test_without_an_interval_the_difference_decides():
    """Different test texts have no paired interval; pretending to one hides the doubt."""
    config = GatesConfig(not_worse_than_champion_by=1.0)
    assert champion_gate(config, difference=-0.005, low=-0.02, detail="").passed is False
    assert champion_gate(config, difference=-0.005, low=None, detail="").passed is True
    assert champion_gate(GatesConfig(**OFF), difference=-1, low=None, detail="") is None


def test_a_misspelt_gate_is_refused():
    """`max_latency_ms: 5` ignored is a gate that was never there."""
    with pytest.raises(ValidationError):
        GatesConfig(max_latency_ms=5)
