"""Makes the files of this directory: torchvision's ResNet-18 of width 4, its ResNet-34 and ResNet-50 of width 2 and the net of
PyTorch's MNIST example with 2 and 4 channels, all with random weights, and their logits. Without torchvision only the last is
made.

    python -m pip install torch==2.9.0 torchvision==0.24.0 safetensors && python make.py
"""

import torch
from safetensors.torch import save_file
from torch import nn


class Example(nn.Module):
    """github.com/pytorch/examples, mnist/main.py, with a sixteenth of the channels and without dropout."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 2, 3, 1)
        self.conv2 = nn.Conv2d(2, 4, 3, 1)
        self.fc1 = nn.Linear(576, 8)
        self.fc2 = nn.Linear(8, 10)

    def forward(self, x):
        x = torch.max_pool2d(torch.relu(self.conv2(torch.relu(self.conv1(x)))), 2)
        return torch.log_softmax(self.fc2(torch.relu(self.fc1(torch.flatten(x, 1)))), dim=1)


torch.manual_seed(0)
example = Example().eval()
torch.save(example.state_dict(), "mnist_cnn-narrow.pt")
# Every second pixel 200 of 255, as PyTorch's example makes it ready.
pixels = (torch.arange(28 * 28) % 2 * 200 / 255 - 0.1307) / 0.3081
print("example", [round(v, 6) for v in example(pixels.reshape(1, 1, 28, 28)).flatten().tolist()])

try:
    from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
except ImportError:
    raise SystemExit("no torchvision: its files are left as they are")


class Narrow(ResNet):
    """torchvision's own class with fewer channels."""

    def __init__(self, width, block, layers, num_classes):
        self.narrowed_to = width
        super().__init__(block, layers, num_classes)
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.fc = nn.Linear(8 * width * block.expansion, num_classes)

    def _make_layer(self, block, planes, *args, **kwargs):
        if planes == 64:
            self.inplanes = self.narrowed_to
        return super()._make_layer(block, planes * self.narrowed_to // 64, *args, **kwargs)


def make(name, width, block, layers):
    torch.manual_seed(0)
    model = Narrow(width, block, layers, num_classes=7)
    for key, value in model.state_dict().items():
        if key.endswith(("running_mean", "bias")):
            value.normal_(0, 0.1)
        elif key.endswith("running_var") or "bn" in key or "downsample.1" in key:
            value.uniform_(0.5, 1.5) if value.is_floating_point() else None
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, name + "-narrow.safetensors")

    model.eval()
    image = ((torch.arange(2 * 3 * 40 * 36) * 37 % 101) / 50 - 1).reshape(2, 3, 40, 36)
    print(name, [round(v, 6) for v in model(image).flatten().tolist()])
    grey = image[:, :1]
    print("  grey", [round(v, 6) for v in model(grey.repeat(1, 3, 1, 1)).flatten().tolist()])
    return model


model = make("resnet18", 4, BasicBlock, [2, 2, 2, 2])
torch.save(model.state_dict(), "resnet18-narrow.pth")
make("resnet34", 2, BasicBlock, [3, 4, 6, 3])
make("resnet50", 2, Bottleneck, [3, 4, 6, 3])
