"""Tables of the report: every arm stands in them, and every command once."""

import json

import cells as made

from tte_tee.report.write import write_report


def tables_of(folder):
    write_report(folder, folder / "r.html", resamples=500)
    return json.loads((folder / "r.json").read_text())["tables"]


def test_commands_stand_there_once_and_cells_name_their_numbers(tmp_path):
    made.study(tmp_path)
    origin = made.cell("seg_real", 0, 0)["provenance"]
    made.write(tmp_path, made.cell("seg_real", 0, 0, provenance={**origin, "commands": ["a", "b", "c"]}))
    made.write(tmp_path, made.cell("seg_real", 1, 0, provenance={**origin, "commands": ["a", "c", "d"]}))
    tables = tables_of(tmp_path)
    commands = {command: number for number, command in tables[-1]["rows"]}
    assert {"a", "b", "c", "d", "python -m tte_tee fit --config arm.yaml"} == set(commands)
    rows = {(row[0], row[1]): row[-1] for row in tables[-2]["rows"]}
    first = int(commands["a"])
    assert rows["seg_real", "0"] == f"{first}-{first + 2}"
    assert rows["seg_real", "1"] == f"{first}, {first + 2}, {first + 3}"


def test_fidelity_of_every_arm_stands_in_the_table(tmp_path):
    made.study(tmp_path)
    tables = tables_of(tmp_path)
    (table,) = (t for t in tables if t["title"].startswith("Fidelity in mobilenet_v2"))
    assert table["rows"] == [["floor (all arms)", "-", "0.01"], ["ceiling (all arms)", "-", "0.4"],
                             ["lora_mlp-ssm-1to1", "0-3", "0.12"]]  # fmt: skip
