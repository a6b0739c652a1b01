"""Compares a run's TensorBoard event files with its metrics.jsonl: read_events.py RUN"""

import json
import pathlib
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

run = pathlib.Path(sys.argv[1])
wanted = {}
for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()):
    values = dict(line["values"])
    if line["split"] == "train":
        values["learning_rate"] = line["learning_rate"]
    for name, value in values.items():
        wanted.setdefault((line["split"], name), []).append((line["step"], value))
found = {}
for split in sorted({split for split, _ in wanted}):
    events = EventAccumulator(str(run / "tensorboard" / split))
    events.Reload()
    for name in events.Tags()["scalars"]:
        found[split, name] = [(event.step, event.value) for event in events.Scalars(name)]
assert found.keys() == wanted.keys(), (sorted(found), sorted(wanted))
for key, rows in wanted.items():
    assert [step for step, _ in rows] == [step for step, _ in found[key]], key
    assert all(abs(a - b) <= 1e-6 * abs(a) for (_, a), (_, b) in zip(rows, found[key])), key
print(f"TensorBoard reads {sum(map(len, found.values()))} values of {len(found)} curves")
