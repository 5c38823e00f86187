"""The models of retort's table as plain PyTorch modules, with the parameter names of published weights."""
import torch
import torch.nn.functional as F
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


class CifarBlock(nn.Module):
    def __init__(self, n_in, n_out, stride, wide):
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.more = 0 if wide else n_out - n_in
        self.downsample = shortcut(n_in, n_out, stride) if wide else None

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.downsample:
            x = self.downsample(x)
        elif self.more:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.more // 2, self.more // 2))
        return F.relu(x + y)


class CifarResNet(nn.Module):
    def __init__(self, depth, wide=False, classes=10):
        super().__init__()
        stem, n = (32, 64) if wide else (16, 16)
        self.conv1 = nn.Conv2d(3, stem, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        for i in range(3):
            blocks = []
            for j in range((depth - 2) // 6):
                blocks.append(CifarBlock(stem, n << i, 2 if i and not j else 1, wide))
                stem = n << i
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
        self.head = "fc" if wide else "linear"
        setattr(self, self.head, nn.Linear(stem, classes))

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return getattr(self, self.head)(x.mean((2, 3)))


class WideBlock(nn.Module):
    def __init__(self, n_in, n_out, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(n_in)
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.convShortcut = nn.Conv2d(n_in, n_out, 1, stride, bias=False) if n_in != n_out else None

    def forward(self, x):
        start = F.relu(self.bn1(x))
        y = self.conv2(F.relu(self.bn2(self.conv1(start))))
        return y + (self.convShortcut(start) if self.convShortcut else x)


class WideStage(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        self.layer = nn.Sequential(*blocks)

    def forward(self, x):
        return self.layer(x)


class WideResNet(nn.Module):
    def __init__(self, depth, factor, classes=10):
        super().__init__()
        n = 16
        self.conv1 = nn.Conv2d(3, n, 3, 1, 1, bias=False)
        for i in range(3):
            blocks = []
            for j in range((depth - 4) // 6):
                blocks.append(WideBlock(n, 16 * factor << i, 2 if i and not j else 1))
                n = 16 * factor << i
            setattr(self, f"block{i + 1}", WideStage(blocks))
        self.bn1 = nn.BatchNorm2d(n)
        self.fc = nn.Linear(n, classes)

    def forward(self, x):
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(F.relu(self.bn1(x)).mean((2, 3)))


class Vgg(nn.Module):
    def __init__(self, convolutions, classes=10):
        super().__init__()
        layers, n = [], 3
        for i, count in enumerate(convolutions):
            for _ in range(count):
                width = 64 << min(i, 3)
                layers += [nn.Conv2d(n, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU()]
                n = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(n, classes)

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


def conv_norm(n_in, n_out, kernel, stride, groups, activation):
    conv = nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(n_out), *([activation()] if activation else []))


class Excitation(nn.Module):
    def __init__(self, n, squeezed):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(n, squeezed, 1), nn.Conv2d(squeezed, n, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.fc2(F.silu(self.fc1(x.mean((2, 3), keepdim=True)))))


class Inverted(nn.Module):
    """conv: MobileNetV2's block, its last convolution and norm loose; block: EfficientNet's."""

    def __init__(self, n_in, n_out, expand, kernel, stride, efficient):
        super().__init__()
        hidden, activation = n_in * expand, nn.SiLU if efficient else nn.ReLU6
        layers = [conv_norm(n_in, hidden, 1, 1, 1, activation)] if expand != 1 else []
        layers.append(conv_norm(hidden, hidden, kernel, stride, hidden, activation))
        if efficient:
            layers += [Excitation(hidden, max(1, n_in // 4)), conv_norm(hidden, n_out, 1, 1, 1, None)]
        else:
            layers += list(conv_norm(hidden, n_out, 1, 1, 1, None))
        self.name, self.residual = "block" if efficient else "conv", stride == 1 and n_in == n_out
        setattr(self, self.name, nn.Sequential(*layers))

    def forward(self, x):
        y = getattr(self, self.name)(x)
        return x + y if self.residual else y


class Mobile(nn.Module):
    KERNELS, OUT, BLOCKS = (3, 3, 5, 3, 5, 5, 3), (16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 3, 3, 4, 1)
    STRIDES = (1, 2, 2, 2, 1, 2, 1)
    MOBILE_OUT, MOBILE_BLOCKS = (16, 24, 32, 64, 96, 160, 320), (1, 2, 3, 4, 3, 3, 1)

    def __init__(self, efficient, classes=10, stem="cifar", width=1.0):
        super().__init__()
        large, activation = stem == "imagenet", nn.SiLU if efficient else nn.ReLU6

        def scaled(n):
            m = max(8, int(n * width + 4) // 8 * 8)
            return m + 8 if m < 0.9 * n * width else m

        n = scaled(32)
        features = [conv_norm(3, n, 3, 2 if large else 1, 1, activation)]
        rows = zip(self.KERNELS, self.OUT, self.BLOCKS, self.STRIDES) if efficient else \
            zip((3,) * 7, self.MOBILE_OUT, self.MOBILE_BLOCKS, self.STRIDES)
        for i, (kernel, out, blocks, stride) in enumerate(rows):
            stage = []
            for j in range(blocks):
                s = 1 if j or (i == 1 and not large) else stride
                stage.append(Inverted(n, scaled(out), 6 if i else 1, kernel, s, efficient))
                n = scaled(out)
            features += [nn.Sequential(*stage)] if efficient else stage
        head = 4 * n if efficient else scaled(1280) if width > 1 else 1280
        self.features = nn.Sequential(*features, conv_norm(n, head, 1, 1, 1, activation))
        self.classifier = nn.Sequential(nn.Identity(), nn.Linear(head, classes))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


class WhitenedBlock(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(n, n_out, 3, padding=1, bias=False) for n in (n_in, n_out))
        self.norm1, self.norm2 = nn.BatchNorm2d(n_out), nn.BatchNorm2d(n_out)

    def forward(self, x):
        x = F.gelu(self.norm1(F.max_pool2d(self.conv1(x), 2)))
        return F.gelu(self.norm2(self.conv2(x)))


class Whitened(nn.Module):
    def __init__(self, classes, width=64):
        super().__init__()
        self.whiten = nn.Conv2d(3, 24, 2)
        self.block1, self.block2 = WhitenedBlock(24, width), WhitenedBlock(width, 4 * width)
        self.block3 = WhitenedBlock(4 * width, 4 * width)
        self.head = nn.Linear(4 * width, classes, bias=False)

    def forward(self, x):
        x = F.gelu(self.whiten(F.pad(x, (0, 1, 0, 1))))
        x = self.block3(self.block2(self.block1(x)))
        return self.head(x.amax((2, 3))) / self.head.in_features


RESNETS = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
    "resnet152": (Bottleneck, (3, 8, 36, 3)),
}
VGGS = {"vgg8": (1, 1, 1, 1, 1), "vgg11": (1, 1, 2, 2, 2), "vgg13": (2, 2, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3)}


def make(name, classes=10, **options):
    if name in RESNETS:
        return ResNet(*RESNETS[name], classes=classes, **options)
    if name in VGGS:
        return Vgg(VGGS[name], classes)
    if name == "whitened_cnn":
        return Whitened(classes)
    if name.startswith("wrn_"):
        return WideResNet(*map(int, name[4:].split("_")), classes=classes)
    if name.startswith("resnet"):
        return CifarResNet(int(name[6:].removesuffix("x4")), name.endswith("x4"), classes)
    return Mobile({"mobilenet_v2": False, "efficientnet_b0": True}[name], classes, **options)


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
