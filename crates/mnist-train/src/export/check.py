"""Runs model.onnx in onnxruntime and compares it with the program that trained it."""

import json
import pathlib

import numpy
import onnxruntime

HERE = pathlib.Path(__file__).parent

if __name__ == "__main__":
    config = json.loads((HERE / "config.json").read_text())
    reference = json.loads((HERE / "reference.json").read_text())
    session = onnxruntime.InferenceSession(HERE / "model.onnx", providers=["CPUExecutionProvider"])
    images = numpy.array(reference["images"], numpy.float32).reshape(-1, *config["input"]["shape"])
    (logits,) = session.run(None, {"images": images})
    logits = logits - logits.max(axis=1, keepdims=True)
    found = logits - numpy.log(numpy.exp(logits).sum(axis=1, keepdims=True))
    # The program's probabilities end where 32 bits do.
    wanted = numpy.array(reference["log_probabilities"])
    difference = abs(found.clip(-80) - wanted.clip(-80)).max()
    print(f"largest difference of a log-probability on {len(images)} images: {difference:.1e}")
    raise SystemExit(bool(difference > 1e-4))
