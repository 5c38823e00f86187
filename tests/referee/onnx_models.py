"""Published architectures by hand, small images: what PyTorch's exporters make of them is what users have."""
import torch
import torch.nn.functional as F
from torch import nn

import torch_models


def settle_norms(model, x):
    """Running statistics that aren't those of the first day."""
    model.train()
    with torch.no_grad():
        model(x)
    return model.eval()


class Vgg(nn.Module):
    """VGG-11 with its own head (Simonyan, Zisserman 2014): convolutions with biases, adaptive pooling, dropout."""

    def __init__(self, classes=10):
        super().__init__()
        layers, n = [], 3
        for width in (16, "M", 32, "M", 64, 64, "M"):
            if width == "M":
                layers.append(nn.MaxPool2d(2, 2))
            else:
                layers += [nn.Conv2d(n, width, 3, padding=1), nn.ReLU(inplace=True)]
                n = width
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((2, 2))
        self.classifier = nn.Sequential(nn.Linear(n * 4, 64), nn.ReLU(True), nn.Dropout(), nn.Linear(64, classes))

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class DenseLayer(nn.Module):
    def __init__(self, n, growth):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(n), nn.Conv2d(n, 4 * growth, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(4 * growth), nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x):
        y = self.conv1(F.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(F.relu(self.norm2(y)))], 1)


class DenseNet(nn.Module):
    """DenseNet (Huang et al. 2017): batch norm before convolutions, concatenation, average pooling."""

    def __init__(self, classes=10, growth=8):
        super().__init__()
        n = 16
        parts = [nn.Conv2d(3, n, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(n), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        for block in range(2):
            for _ in range(3):
                parts.append(DenseLayer(n, growth))
                n += growth
            if block == 0:
                parts += [nn.BatchNorm2d(n), nn.ReLU(), nn.Conv2d(n, n // 2, 1, bias=False), nn.AvgPool2d(2, 2)]
                n //= 2
        self.features = nn.Sequential(*parts, nn.BatchNorm2d(n))
        self.classifier = nn.Linear(n, classes)

    def forward(self, x):
        y = F.relu(self.features(x))
        return self.classifier(torch.flatten(F.adaptive_avg_pool2d(y, (1, 1)), 1))


class Fire(nn.Module):
    def __init__(self, n, squeeze, expand):
        super().__init__()
        self.squeeze = nn.Conv2d(n, squeeze, 1)
        self.expand1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x):
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.expand1(x)), F.relu(self.expand3(x))], 1)


class SqueezeNet(nn.Module):
    """SqueezeNet 1.1 (Iandola et al. 2016): pools with ceil_mode, a convolution as classifier."""

    def __init__(self, classes=10):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), Fire(16, 8, 16), Fire(32, 8, 16),
            nn.MaxPool2d(3, 2, ceil_mode=True), Fire(32, 16, 32))
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(64, classes, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))

    def forward(self, x):
        return torch.flatten(self.classifier(self.features(x)), 1)


class SqueezeExcite(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(n, n // 4, 1), nn.Conv2d(n // 4, n, 1)

    def forward(self, x):
        return x * F.hardsigmoid(self.fc2(F.relu(self.fc1(F.adaptive_avg_pool2d(x, 1)))))


class MobileV3(nn.Module):
    """MobileNetV3's blocks (Howard et al. 2019): hard swish, squeeze and excitation, depthwise 5×5."""

    def __init__(self, classes=10):
        super().__init__()

        def conv(n_in, n_out, k, stride=1, groups=1, act=nn.Hardswish):
            layers = [nn.Conv2d(n_in, n_out, k, stride, k // 2, groups=groups, bias=False), nn.BatchNorm2d(n_out)]
            return nn.Sequential(*layers, *([act()] if act else []))

        self.stem = conv(3, 16, 3, 2)
        self.block1 = nn.Sequential(conv(16, 16, 3, 2, 16, nn.ReLU), SqueezeExcite(16), conv(16, 16, 1, act=None))
        self.block2 = nn.Sequential(conv(16, 64, 1), conv(64, 64, 5, 1, 64), SqueezeExcite(64), conv(64, 16, 1, act=None))
        self.last = conv(16, 96, 1)
        self.classifier = nn.Sequential(nn.Linear(96, 64), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(64, classes))

    def forward(self, x):
        x = self.block1(self.stem(x))
        x = self.last(x + self.block2(x))
        return self.classifier(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class EncoderBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.ln1, self.ln2 = heads, nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x):
        b, n, width = x.shape
        q, k, v = self.qkv(self.ln1(x)).reshape(b, n, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        a = torch.softmax(q @ k.transpose(-2, -1) * (width // self.heads) ** -0.5, -1) @ v
        x = x + self.out(a.transpose(1, 2).reshape(b, n, width))
        return x + self.mlp(self.ln2(x))


class Vit(nn.Module):
    """A vision transformer (Dosovitskiy et al. 2021): class token, positions, attention."""

    def __init__(self, classes=10, width=32, patch=8, side=32):
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.position = nn.Parameter(torch.randn(1, (side // patch) ** 2 + 1, width) * 0.02)
        self.blocks = nn.Sequential(EncoderBlock(width, 4), EncoderBlock(width, 4))
        self.ln, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        return self.head(self.ln(self.blocks(x))[:, 0])


class Mlp(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 64), nn.ReLU(), nn.Linear(64, 32), nn.Tanh(),
                                 nn.Linear(32, classes))

    def forward(self, x):
        return self.net(x)


class Text(nn.Module):
    """Words to a class without recurrence: embeddings, one attention block, the mean."""

    def __init__(self, classes=4, vocabulary=50, width=32, length=12):
        super().__init__()
        self.words, self.positions = nn.Embedding(vocabulary, width), nn.Parameter(torch.randn(1, length, width) * 0.02)
        self.block, self.head = EncoderBlock(width, 2), nn.Linear(width, classes)

    def forward(self, ids):
        return self.head(self.block(self.words(ids) + self.positions).mean(1))


def images(n):
    return torch.randn(n, 3, 32, 32, generator=torch.Generator().manual_seed(n))


def ids(n):
    return torch.randint(0, 50, (n, 12), generator=torch.Generator().manual_seed(n))


MODELS = {
    "resnet20": (lambda: torch_models.make("resnet20"), images),  # shortcuts by x[:, :, ::2, ::2] and F.pad
    "resnet18": (lambda: torch_models.make("resnet18"), images), "resnet50": (lambda: torch_models.make("resnet50"), images),
    "mobilenet_v2": (lambda: torch_models.make("mobilenet_v2"), images), "mobilenet_v3": (MobileV3, images),
    "vgg11": (Vgg, images), "densenet": (DenseNet, images), "squeezenet": (SqueezeNet, images), "vit": (Vit, images),
    "mlp": (Mlp, images), "text": (Text, ids),
}
