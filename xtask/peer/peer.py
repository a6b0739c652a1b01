"""The works of `cargo xtask bench-backends` in PyTorch.

The protocol is that of mnist-cli's `bench-worker`: a request is one JSON object on a line of stdin, its answer one
on a line of stdout. The nets have the shapes that bench-worker reports in `settings`, parameter for parameter.

    python peer.py DATA_DIRECTORY THREADS
"""

import gzip
import json
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

BATCHES = 8
MEAN, STD = 0.1307, 0.3081


class PytorchExample(nn.Module):
    """The net of PyTorch's MNIST example (github.com/pytorch/examples) without its dropout."""

    def __init__(self, channels, width):
        super().__init__()
        first, second = channels
        self.conv1 = nn.Conv2d(1, first, 3)
        self.conv2 = nn.Conv2d(first, second, 3)
        self.fc1 = nn.Linear(second * 12 * 12, width)
        self.fc2 = nn.Linear(width, 10)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        x = F.max_pool2d(x, 2)
        x = F.relu(self.fc1(torch.flatten(x, 1)))
        return self.fc2(x)


def mlp(hidden, dropout):
    layers, inputs = [nn.Flatten()], 784
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        if dropout > 0:
            layers.append(nn.Dropout(dropout))
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, 10))


def cnn(channels, kernels, convolutions, pool, norm, width, dropout):
    layers, inputs, side = [], 1, 28
    for outputs, kernel in zip(channels, kernels):
        for convolution in range(1, convolutions + 1):
            halves = convolution == convolutions
            stride = 2 if halves and not pool else 1
            layers.append(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=not norm))
            if halves and pool:
                layers.append(nn.MaxPool2d(2))
            if norm:
                layers.append(nn.BatchNorm2d(outputs))
            layers.append(nn.ReLU())
            inputs = outputs
        side = side // 2 if pool else (side + 1) // 2
    layers.append(nn.Flatten())
    flat = inputs * side * side
    if width > 0:
        layers += [nn.Linear(flat, width), nn.ReLU()]
    if dropout > 0:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(width or flat, 10))


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            down = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(down, nn.BatchNorm2d(outputs))

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + shortcut)


def resnet(width, blocks):
    layers = [nn.Conv2d(1, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    inputs = width
    for stage, count in enumerate(blocks):
        for block in range(count):
            halve = stage > 0 and block == 0
            outputs = inputs * 2 if halve else inputs
            layers.append(BasicBlock(inputs, outputs, 2 if halve else 1))
            inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10))


def transformer():
    layer = nn.TransformerEncoderLayer(
        128, 4, 512, dropout=0.0, activation="gelu", norm_first=True, batch_first=True
    )
    return nn.TransformerEncoder(layer, 4, nn.LayerNorm(128), enable_nested_tensor=False)


NETS = {"pytorch-example-cnn": PytorchExample, "mlp": mlp, "cnn": cnn, "resnet": resnet}

# One line an operation: the shape of its input and the operation. bench-worker's ops.rs has the same.
MAPS, TOKENS = (64, 32, 26, 26), (64, 52, 128)
OPS = {
    "conv2d": (MAPS, lambda: nn.Conv2d(32, 64, 3, 2, 1)),
    "conv-transpose2d": ((64, 64, 14, 14), lambda: nn.ConvTranspose2d(64, 32, 4, 2, 1)),
    "batch-norm": (MAPS, lambda: nn.BatchNorm2d(32)),
    "group-norm": (MAPS, lambda: nn.GroupNorm(8, 32)),
    "layer-norm": (TOKENS, lambda: nn.LayerNorm(128)),
    "gelu": ((64, 52, 512), nn.GELU),
    "silu": (MAPS, nn.SiLU),
    "dropout": (MAPS, lambda: nn.Dropout(0.5)),
    "linear": (TOKENS, lambda: nn.Linear(128, 512)),
}


class Data:
    """MNIST's files, as bytes."""

    def __init__(self, directory):
        self.directory = directory

    def read(self, name, offset):
        with gzip.open(f"{self.directory}/{name}.gz") as file:
            return torch.frombuffer(bytearray(file.read()[offset:]), dtype=torch.uint8)

    def images(self, split="train"):
        """`[n, 1, 28, 28]`, 0-255."""
        return self.read(f"{split}-images-idx3-ubyte", 16).reshape(-1, 1, 28, 28)

    def labels(self, split="train"):
        return self.read(f"{split}-labels-idx1-ubyte", 8).long()

    def batches(self, size):
        """The first batches of the training images, normalised."""
        images, labels = self.images(), self.labels()
        count = min(BATCHES * size, len(images) // size * size)
        x = (images[:count] / 255 - MEAN) / STD
        return list(zip(x.split(size), labels[:count].split(size)))


def prepare(request, data):
    """Parameters, items an iteration and a function that does the work once."""
    work, name, batch = request["work"], request["net"], request["batch"]
    if work == "op":
        shape, make = OPS[name]
        model = make().train()
        return parameters(model), operation(model, torch.randn(shape, requires_grad=True))
    if name == "transformer":
        model, inputs = transformer(), [(torch.randn(batch, 52, 128), None)]
        loss = lambda output, _: output.square().mean()
    else:
        model, inputs = NETS[name](**request["settings"]), data.batches(batch)
        loss = F.cross_entropy
    once = training(model, inputs, loss) if work == "train" else forward(model, inputs, work)
    return parameters(model), once


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def operation(model, x):
    with torch.no_grad():
        dy = torch.randn_like(model(x))

    def once():
        x.grad = None
        model.zero_grad()
        model(x).backward(dy)

    return once


def training(model, inputs, loss):
    model.train()
    optimizer = torch.optim.Adam(model.parameters())
    turn = 0

    def once():
        nonlocal turn
        x, y = inputs[turn % len(inputs)]
        turn += 1
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()

    return once


def forward(model, inputs, work):
    model.eval()
    turn = 0

    def once():
        nonlocal turn
        with torch.inference_mode():
            output = model(inputs[turn % len(inputs)][0])
        turn += 1
        if work == "latency":
            output.numpy()

    return once


def measure(once, wanted):
    begun, times = time.perf_counter(), []
    while not times or time.perf_counter() - begun < wanted:
        lap = time.perf_counter()
        once()
        times.append((time.perf_counter() - lap) * 1e3)
    seconds = time.perf_counter() - begun
    return {
        "iterations": len(times),
        "seconds": seconds,
        "median_ms": statistics.median(times),
        "peak_mib": peak_mib(),
    }


def reach(seed, data):
    """The script cannot stop in the middle: its accuracy is that of its end."""
    from one_epoch import train

    seconds, accuracy = train(
        seed, data.images(), data.labels(), data.images("t10k"), data.labels("t10k")
    )
    return {"seconds": seconds, "accuracy": accuracy}


def peak_mib():
    """Largest memory that this process has had, in MiB, as Linux tells it."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return None


def main():
    directory, threads = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(threads)
    data, once = Data(directory), None
    for line in sys.stdin:
        try:
            request = json.loads(line)
            if request["do"] == "hello":
                answer = {"version": torch.__version__, "threads": torch.get_num_threads()}
            elif request["do"] == "prepare":
                once = None
                count, once = prepare(request, data)
                answer = {"parameters": count, "settings": None}
            elif request["do"] == "round":
                answer = measure(once, request["seconds"])
            elif request["do"] == "reach":
                answer = reach(request["seed"], data)
            else:
                answer = {"error": f"there is no request {request['do']!r}"}
        except Exception as error:  # whatever it is, the other side has to know
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
