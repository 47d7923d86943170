"""A checklist after CLAIM 2024, filled in as far as a segmenter and its scores can answer.

Source: Tejani et al., Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update,
Radiology: Artificial Intelligence 6(4), 2024. Items are paraphrased and grouped as there, without its
numbers; the checklist itself is the authority. What only the authors know is left to them.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from tte_tee.files import read_json, write_whole
from tte_tee.tables import Table, markdown

AUTHORS = "for the authors"
NOT_RECORDED = "not recorded"
_HEADER = ("CLAIM item", "where answered", "answer")
_METRICS, _SEGMENTER, _TEXT = "`metrics.json`", "`segmenter.json`", "manuscript"
Json = Mapping[str, Any]
Items = Iterator[tuple[str, str, str]]


def write_claim(evaluated: Path, segmenter: Path) -> None:
    """Writes ``CLAIM.md`` beside the ``metrics.json`` of a folder that ``evaluate`` left.

    Args:
        evaluated: that folder.
        segmenter: folder of the segmenter that was evaluated.

    Raises:
        UserError: a record is missing or cannot be read.
    """
    metrics = read_json(evaluated / "metrics.json", "evaluation")
    text = claim_table(metrics, read_json(segmenter / "segmenter.json", "segmenter"))
    write_whole(evaluated / "CLAIM.md", text.encode())


def claim_table(metrics: Json, segmenter: Json) -> str:
    """The checklist in Markdown, a table per section; counts of patients, no names, and no paths.

    Args:
        metrics: ``metrics.json``, as ``evaluate`` writes it.
        segmenter: ``segmenter.json``.
    """
    parts = [
        "# Checklist after CLAIM 2024",
        "After Tejani et al., Radiology: Artificial Intelligence 6(4), 2024; items are paraphrased. What says "
        f"'{AUTHORS}' no record can answer. The segmenter: `{metrics['segmenter']['hash']}`.",
    ]
    sections = {
        "Title and abstract": _left("Names the study as one of AI, and the kind of AI", "Structured abstract"),
        "Introduction": _left("Background, intended use and clinical role", "Aims and hypotheses"),
        "Methods: study design": _left("Prospective or retrospective", "Goal of the study"),
        "Methods: data": _data(metrics, segmenter),
        "Methods: reference standard (ground truth)": _reference(segmenter),
        "Methods: data partitions": _partitions(metrics, segmenter),
        "Methods: model": _model(segmenter),
        "Methods: training": _training(segmenter),
        "Methods: evaluation": _evaluation(metrics, segmenter),
        "Results: data": _flow(metrics),
        "Results: model performance": _performance(metrics),
        "Discussion": _left("Limitations: bias, uncertainty, how far it carries", "What follows for practice"),
        "Other information": _other(metrics, segmenter),
    }
    return "\n\n".join([*parts, *(markdown(Table(name, _HEADER, [*rows])) for name, rows in sections.items())]) + "\n"


def _left(*items: str) -> Items:
    """Items that only the authors can answer."""
    return ((item, _TEXT, AUTHORS) for item in items)


def _data(metrics: Json, segmenter: Json) -> Items:
    record = segmenter["provenance"]
    data, store = record.get("data", {}), metrics["store"]
    learnt = f"trained on `{data['store']}` ({data['hash'][:12]})" if data else f"training store {NOT_RECORDED}"
    synthetic = data.get("synthetic")
    if synthetic:
        learnt += f" and generated `{synthetic['store']}` ({synthetic['hash'][:12]})"
    yield "Sources of the data", "both records", f"{learnt}; tested on `{store['name']}` ({store['hash'][:12]})"
    yield from _left("Eligibility: who, where and when")
    size = "x".join(map(str, segmenter["image_size"]))
    yield (
        "Preprocessing",
        _SEGMENTER,
        f"frames brought to {size}, black outside of the sector; scored at their own size",
    )
    options = _options(segmenter, "data")
    few = options.get("patients")
    chosen = f"{few} training patients, drawn with seed {options.get('patient_seed')}" if few else "no subset drawn"
    yield "Choice of subsets", _SEGMENTER, chosen if options else NOT_RECORDED
    yield from _left("De-identification")
    without = metrics["frames_without_spacing"]
    yield "Missing data", _METRICS, f"{without} frames without spacing; distances are in {metrics['unit']}"
    yield from _left("Acquisition of the images: devices and protocol")


def _reference(segmenter: Json) -> Items:
    names = ", ".join(segmenter["label_space"]["structures"])
    yield (
        "What the reference standard is",
        _SEGMENTER,
        f"masks of {names}, by a person or known to the phantom: `evaluate` refuses others",
    )
    yield from _left(
        "Why this reference standard",
        "Who annotated, with what training and which tools",
        "How the test set was annotated",
        "Variability between and within annotators",
    )


def _partitions(metrics: Json, segmenter: Json) -> Items:
    record = segmenter["provenance"]
    learnt = record.get("data", {}).get("learnt_from", {})
    parts = [f"{split}: {n['patients']} patients, {n['frames']} frames" for split, n in learnt.items()]
    synthetic = record.get("data", {}).get("synthetic")
    parts += [f"{synthetic['frames']} generated frames beside"] if synthetic else []
    tested = f"tested on split {metrics['split']}" + (f", cohort {metrics['cohort']}" if metrics.get("cohort") else "")
    yield "How data were assigned to partitions", "both records", "; ".join([*(parts or [NOT_RECORDED]), tested])
    yield (
        "Level at which partitions are disjoint",
        "both records",
        f"the patient: none of the {metrics['summary']['patients']} tested is among the {len(record.get('seen', ()))} "
        "known to the segmenter or what it was made from; `evaluate` refuses them",
    )
    yield from _left("Intended sample size and how it was set")


def _model(segmenter: Json) -> Items:
    network, record = segmenter["network"], segmenter["provenance"]
    channels = ", ".join(map(str, network["channels"]))
    yield (
        "The model: inputs, outputs, layers",
        _SEGMENTER,
        f"MONAI {network['network']}, channels {channels}, dropout {network['dropout']}; "
        f"one grey channel in, background and {len(segmenter['label_space']['structures'])} structures out",
    )
    versions = ", ".join(f"{name} {version}" for name, version in record.get("versions", {}).items())
    yield "Software", _SEGMENTER, f"tte_tee {record['tte_tee']}, {versions}" if versions else NOT_RECORDED
    options = _options(segmenter, "model")
    start = options.get("pretrained")
    answer = f"weights of the segmenter `{PurePath(start).name}`" if start else f"random, seed {options.get('seed')}"
    yield "Initial weights", _SEGMENTER, answer if options else NOT_RECORDED


def _training(segmenter: Json) -> Items:
    record, model, data = segmenter["provenance"], _options(segmenter, "model"), _options(segmenter, "data")
    words = (
        f"{record.get('steps')} steps of {data.get('batch_size')} frames, AdamW, learning rate "
        f"{model.get('learning_rate')}, weight decay {model.get('weight_decay')}, {data.get('augmentation')} "
        f"augmentation, {data.get('ratio')} generated frames to a real one, Dice and cross-entropy"
    )
    yield "Training: augmentation, hyper-parameters", _SEGMENTER, words if model and data else NOT_RECORDED
    dice = record.get("val_dice")
    chosen = (
        NOT_RECORDED if dice is None else f"the weights that were best on validation patients (Dice {100 * dice:.1f} %)"
    )
    yield "How the final model was chosen", _SEGMENTER, chosen
    yield "Ensembling", _SEGMENTER, "none: one network"


def _evaluation(metrics: Json, segmenter: Json) -> Items:
    yield (
        "Metrics of performance",
        _METRICS,
        f"Dice, surface Dice (tolerance: {metrics['tolerance']}), HD95, HD, ASSD in {metrics['unit']}, per structure, "
        f"frames averaged within the patient; {metrics['rules']['text']}",
    )
    levels = {100 * numbers["level"] for numbers in _estimable(metrics).values()}
    bands = f"Bland-Altman limits with {min(levels):g} % intervals over patients" if levels else "no interval estimable"
    yield "Uncertainty and significance", _METRICS, f"{bands}; those of Dice and of comparisons: {AUTHORS}"
    yield from _left("Robustness and sensitivity", "Explainability")
    same = segmenter["provenance"].get("data", {}).get("hash") == metrics["store"]["hash"]
    store = "the store that training took its split from" if same else f"another store, `{metrics['store']['name']}`"
    yield (
        "Test on internal or external data",
        "both records",
        f"split {metrics['split']} of {store}; its site: {AUTHORS}",
    )
    yield from _left("Registration, if a clinical trial")


def _flow(metrics: Json) -> Items:
    summary = metrics["summary"]
    absent = ", ".join(f"{name} {s['cases']['both empty']}" for name, s in summary["structures"].items())
    yield (
        "Patients and frames, and those left out",
        _METRICS,
        f"{summary['patients']} patients, {summary['frames']} frames; frames left out as neither mask has it: {absent}",
    )
    yield from _left("Demographic and clinical characteristics, by partition")


def _performance(metrics: Json) -> Items:
    structures = metrics["summary"]["structures"]
    scores = "; ".join(
        f"{name}: Dice {_percent(s['dice'])}, HD95 {_number(s['hd95'])} {metrics['unit']}"
        for name, s in structures.items()
    )
    yield "Performance on the test data", _METRICS, scores
    agreement = "; ".join(
        f"{name}: bias {_number(a['bias'])}, limits {_number(a['lower'])} to {_number(a['upper'])} {a['unit']} "
        f"(n = {a['n']})"
        for name, a in _estimable(metrics).items()
    )
    yield "Estimates and their precision", f"{_METRICS}, `agreement_*.png`", agreement or "not estimable"
    failures = "; ".join(
        f"{name}: missed {s['cases']['missed']}, invented {s['cases']['invented']}" for name, s in structures.items()
    )
    yield "Where it fails", f"{_METRICS}, `cases_*.png`", failures


def _other(metrics: Json, segmenter: Json) -> Items:
    yield from _left("Where the full protocol is")
    record = segmenter["provenance"]
    yield (
        "Software, model and data",
        "both records",
        f"tte_tee, commit {metrics['commit']}; weights `{metrics['segmenter']['hash'][:12]}`; licence of the training "
        f"frames: {record.get('data', {}).get('licence') or NOT_RECORDED}; where they are to be had: {AUTHORS}",
    )
    yield from _left("Funding and the role of funders")


def _estimable(metrics: Json) -> dict[str, Any]:
    return {name: numbers for name, numbers in metrics["clinical"]["agreement"].items() if "bias" in numbers}


def _options(segmenter: Json, part: str) -> Json:
    return segmenter["provenance"].get("config", {}).get(part, {}).get("init_args", {})


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
