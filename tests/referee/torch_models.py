"""The models of retort's table as plain PyTorch modules, with torchvision's parameter names."""
import torch
from torch import nn


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, n_in, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut(n_in, width * self.expansion, stride)

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += self.downsample(x) if self.downsample else x
        return self.relu(y)


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, n_in, width, stride):
        super().__init__()
        n_out = width * self.expansion
        self.conv1 = nn.Conv2d(n_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, n_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(n_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut(n_in, n_out, stride)

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y += self.downsample(x) if self.downsample else x
        return self.relu(y)


def shortcut(n_in, n_out, stride):
    if stride == 1 and n_in == n_out:
        return None
    return nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))


class ResNet(nn.Module):
    def __init__(self, block, depths, classes=10, stem="cifar"):
        super().__init__()
        cifar = stem == "cifar"
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False) if cifar else nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if cifar else nn.MaxPool2d(3, 2, 1)
        n = 64
        for i, depth in enumerate(depths):
            width = 64 << i
            blocks = []
            for j in range(depth):
                blocks.append(block(n, width, 2 if i and not j else 1))
                n = width * block.expansion
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(n, classes)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


MODELS = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
    "resnet152": (Bottleneck, (3, 8, 36, 3)),
}


def make(name, classes=10, stem="cifar"):
    return ResNet(*MODELS[name], classes=classes, stem=stem)


@torch.no_grad()
def settle(model, x, gap=5e-4):
    """Nudge the biases of batch norms until, for this input in training, no ReLU's input is within `gap` of 0.

    A gradient jumps where a ReLU switches: one such element in a million, taken for positive in one precision and for
    negative in another, moves gradients by 1e-3 and hides every error below that.
    """

    def nudge(bn, y, residual=0):
        y = bn(y) + residual
        for k in range(1, 1000):
            close = y.abs().amin((0, 2, 3)) < gap
            if not close.any():
                return torch.relu(y)
            moved = torch.where(close, (bn.bias + 2.5 * gap * k).float().to(bn.bias.dtype), bn.bias)
            y += (moved - bn.bias).reshape(1, -1, 1, 1)
            bn.bias.copy_(moved)
        raise RuntimeError("no bias leaves a gap")

    saved = {k: v.clone() for k, v in model.named_buffers()}
    x = model.maxpool(nudge(model.bn1, model.conv1(x)))
    for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
        for block in layer:
            residual = block.downsample(x) if block.downsample else x
            names = [n[4:] for n, _ in block.named_children() if n.startswith("conv")]
            for n in names:
                conv, bn = getattr(block, "conv" + n), getattr(block, "bn" + n)
                x = nudge(bn, conv(x), residual if n == names[-1] else 0)
    for k, v in model.named_buffers():
        v.copy_(saved[k])


if __name__ == "__main__":
    for name, expected in (("resnet18", 11_173_962), ("resnet50", 23_520_842)):
        n = sum(p.numel() for p in make(name).parameters())
        print(name, n)
        assert n == expected
