"""Loads this model into PyTorch.

    from load import load
    model = load()                # in this file's folder; a torch.nn.Module with this model's parameters
    logits = model(images)        # images: [batch, 1, height, width], 0 (paper) to 1 (ink)

`python load.py` compares it with the program that trained it.
"""

import json
import pathlib

import torch
from torch import nn
from torch.nn import functional as F

HERE = pathlib.Path(__file__).parent


class Model(nn.Module):
    """What config.json lists: value 0 is the input, each layer adds one, the last one are the logits."""

    def __init__(self, config, tensors):
        super().__init__()
        self.config = config
        for name, value in tensors.items():
            if name.endswith(("running_mean", "running_var")):
                self.register_buffer(name.replace(".", "_"), value)
            else:
                self.register_parameter(name.replace(".", "_"), nn.Parameter(value))

    def tensor(self, layer, what=None):
        name = layer["name"] if what is None else f"{layer['name']}.{what}"
        return getattr(self, name.replace(".", "_"))

    def forward(self, images):
        values = [images]
        for layer in self.config["layers"]:
            values.append(self.layer(layer, *[values[i] for i in layer["inputs"]]))
        return values[-1]

    def layer(self, layer, x, *others):
        op = layer["op"]
        if op == "normalise":
            return (x - layer["mean"]) / layer["std"]
        if op == "repeat":
            return x.repeat(1, layer["channels"], 1, 1)
        if op == "conv":
            bias = self.tensor(layer, "bias") if layer["bias"] else None
            return F.conv2d(x, self.tensor(layer, "weight"), bias, layer["stride"], layer["padding"])
        if op == "batch-norm":
            parts = [self.tensor(layer, what) for what in ("running_mean", "running_var", "weight", "bias")]
            return F.batch_norm(x, *parts, training=self.training, eps=layer["epsilon"])
        if op == "max-pool":
            return F.max_pool2d(x, layer["kernel"], layer["stride"], layer["padding"])
        if op == "relu":
            return F.relu(x)
        if op == "add":
            return x + others[0]
        if op == "mean-pixels":
            return x.mean(dim=(2, 3))
        if op == "flatten":
            return x.flatten(1)
        if op == "linear":
            return F.linear(x, self.tensor(layer, "weight"), self.tensor(layer, "bias"))
        if op == "patches":
            return F.unfold(x, layer["size"], stride=layer["size"]).transpose(1, 2)
        if op == "prepend":
            return torch.cat([self.tensor(layer).expand(len(x), -1, -1), x], dim=1)
        if op == "positions":
            return x + self.tensor(layer)
        if op == "layer-norm":
            weight, bias = self.tensor(layer, "weight"), self.tensor(layer, "bias")
            return F.layer_norm(x, weight.shape, weight, bias, layer["epsilon"])
        if op == "attention":
            heads = [t.unflatten(2, (layer["heads"], -1)).transpose(1, 2) for t in x.chunk(3, dim=2)]
            return F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        if op == "gelu":
            return F.gelu(x)
        if op == "first":
            return x[:, 0]
        if op == "mean-tokens":
            return x.mean(dim=1)
        raise ValueError(f"config.json has a layer that this script does not know: {op}")


def load(folder=HERE):
    folder = pathlib.Path(folder)
    if (folder / "model.pt").exists():
        tensors = torch.load(folder / "model.pt", weights_only=True)
    else:
        from safetensors.torch import load_file

        tensors = load_file(folder / "model.safetensors")
    return Model(json.loads((folder / "config.json").read_text()), tensors).eval()


if __name__ == "__main__":
    model = load()
    reference = json.loads((HERE / "reference.json").read_text())
    images = torch.tensor(reference["images"]).view(-1, *model.config["input"]["shape"])
    with torch.no_grad():
        found = model(images).log_softmax(dim=1)
    # The program's probabilities end where 32 bits do.
    wanted = torch.tensor(reference["log_probabilities"])
    difference = (found.clip(-80) - wanted.clip(-80)).abs().max().item()
    print(f"largest difference of a log-probability on {len(images)} images: {difference:.1e}")
    raise SystemExit(difference > 1e-4)
