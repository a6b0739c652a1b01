"""Makes the files of this directory: a torchvision ResNet-18 of width 4 and the net of PyTorch's MNIST example with 2 and 4
channels, both with random weights, and their logits. Without torchvision only the second is made.

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
    from torchvision.models.resnet import BasicBlock, ResNet
except ImportError:
    raise SystemExit("no torchvision: its files are left as they are")


class Narrow(ResNet):
    """torchvision's own class with a sixteenth of the channels."""

    def _make_layer(self, block, planes, *args, **kwargs):
        if planes == 64:
            self.inplanes = 4
        return super()._make_layer(block, planes // 16, *args, **kwargs)


torch.manual_seed(0)
model = Narrow(BasicBlock, [2, 2, 2, 2], num_classes=7)
model.conv1 = torch.nn.Conv2d(3, 4, 7, 2, 3, bias=False)
model.bn1 = torch.nn.BatchNorm2d(4)
model.fc = torch.nn.Linear(32, 7)
for name, value in model.state_dict().items():
    if name.endswith(("running_mean", "bias")):
        value.normal_(0, 0.1)
    elif name.endswith("running_var") or "bn" in name or "downsample.1" in name:
        value.uniform_(0.5, 1.5) if value.is_floating_point() else None
torch.save(model.state_dict(), "resnet18-narrow.pth")
save_file({k: v.contiguous() for k, v in model.state_dict().items()}, "resnet18-narrow.safetensors")

model.eval()
image = ((torch.arange(2 * 3 * 40 * 36) * 37 % 101) / 50 - 1).reshape(2, 3, 40, 36)
print("logits", [round(v, 6) for v in model(image).flatten().tolist()])
grey = image[:, :1]
print("grey", [round(v, 6) for v in model(grey.repeat(1, 3, 1, 1)).flatten().tolist()])
