"""Nets as strangers write them, exported as patch graphs with random weights. Importing it needs torch."""

from __future__ import annotations

import functools

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.workstation import exported

BANDS, CLASSES = 24, 5


def run(model, tensor: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: tensor})[0]


def scene(patch: int, height: int, width: int, bands: int = BANDS) -> np.ndarray:
    """A strip with its halo; float32, neighbours alike as in a real one."""
    rng = np.random.default_rng(3)
    coarse = rng.normal(size=(1, bands, (height + patch) // 3 + 2, (width + patch) // 3 + 2))
    fine = coarse.repeat(3, 2).repeat(3, 3)[:, :, : height + patch - 1, : width + patch - 1]
    return (fine + 0.3 * rng.normal(size=fine.shape)).astype(np.float32)


def patches_of(strip: np.ndarray, patch: int, height: int, width: int) -> np.ndarray:
    return np.stack([strip[0, :, y : y + patch, x : x + patch] for y in range(height) for x in range(width)])


def conv(inputs: int = BANDS, size: int = 3, **more) -> nn.Module:
    """A first layer of 8 channels, or of 8 a group."""
    return nn.Conv2d(inputs, 8 * more.get("groups", 1), size, **more)


def seeded(build):
    torch.manual_seed(5)
    module = build()
    for layer in module.modules():  # as a trained net has them
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(layer.running_mean)
            nn.init.uniform_(layer.running_var, 0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 2)
            nn.init.normal_(layer.bias)
    return module.eval()


class Residual(nn.Module):
    """Unpadded residual blocks: the shortcut is cropped."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Conv2d(BANDS, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        x = torch.relu(self.second(x) + x[:, :, 1:-1, 1:-1])
        x = functional.silu(self.third(x)) - x[:, :, 1:-1, 1:-1]
        return self.head(x.mean((2, 3)))


class Branches(nn.Module):
    """Branches of different reach side by side, some strided, and a linear layer on the flattened map."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(BANDS, 6, 1, stride=2), nn.Conv2d(BANDS, 7, 3, stride=2)
        self.norm = nn.BatchNorm2d(13)
        self.third = nn.Conv2d(13, 6, 2, dilation=2)
        self.head = nn.Linear(6 * 4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.one(x[:, :, 1:-1, 1:-1]), self.two(x)], 1)
        x = self.norm(torch.relu(x))  # behind the activation: no convolution takes it in
        return self.head(functional.hardswish(self.third(x)).flatten(1))


class Weighed(nn.Module):
    """Squeeze and excitation right before the pool, where it commutes with it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.squeeze, self.excite = nn.Conv2d(BANDS, 8, 3), nn.Linear(8, 4), nn.Linear(4, 8)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv(x))
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3))))))
        return self.head((x * gate[:, :, None, None]).mean((2, 3)))


class ChannelsLast(nn.Module):
    """Swapped axes, a linear layer at each place, pools of both kinds, and two heads that are added."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.conv = nn.Linear(BANDS, 10), nn.Conv2d(10, 6, (3, 2))
        self.flat, self.most = nn.Linear(2 * 6 * 2, CLASSES), nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.mix(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        x = torch.relu(self.conv(functional.max_pool2d(x, 3, 2)))
        x = functional.avg_pool2d(x, (1, 2), 1)
        return self.flat(x.permute(0, 3, 1, 2).flatten(1)) + self.most(x.amax((2, 3)))


class Pooled3d(nn.Module):
    """3-D convolutions, pools in all three directions, padding and strides along the spectrum, channels and spectrum merged."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv3d(1, 4, (5, 3, 3), stride=(2, 1, 1), padding=(2, 0, 0)), nn.BatchNorm3d(4)
        self.second = nn.Conv3d(4, 4, 3, padding=(1, 0, 0), groups=2)
        self.third = nn.Conv3d(4, 6, (2, 1, 1), stride=(2, 1, 1), dilation=(2, 1, 1))
        self.conv2d = nn.Conv2d(12, 7, 2)
        self.head = nn.Linear(7, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x.unsqueeze(1))))
        x = functional.max_pool3d(x, (2, 2, 2), (2, 1, 1))
        x = torch.relu(self.third(torch.relu(self.second(x))))
        x = torch.relu(self.conv2d(x.flatten(1, 2)))
        return self.head(functional.adaptive_avg_pool2d(x, 1).flatten(1))


class SpectrumLast(nn.Module):
    """3-D convolutions as they are written with the spectrum as the last axis."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv3d(1, 3, (3, 3, 7)), nn.Conv3d(3, 4, (3, 3, 5), stride=(1, 1, 2))
        self.head = nn.Linear(4 * 7, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x.permute(0, 2, 3, 1).unsqueeze(1)))
        x = torch.relu(self.second(x))
        return self.head(x.mean((2, 3)).flatten(1))


class Spectral(nn.Module):
    """Two convolutions along the spectrum of the centre, and of the mean, of chosen bands."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(1, 4, 5), nn.Conv1d(4, 6, 3, stride=2)
        self.register_buffer("bands", torch.tensor([1, 2, 3, 5, 7, 9, 11, 12, 13, 14, 17, 20, 22, 23]))
        self.mix, self.head = nn.Linear(6, CLASSES), nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, self.bands]
        centre = functional.leaky_relu(self.first(x[:, :, 2, 2].unsqueeze(1)))
        mean = functional.elu(self.second(self.first(x.mean((2, 3)).unsqueeze(1)))).mean(2)
        low, high = functional.max_pool1d(self.second(centre), 2).split(1, 2)
        return self.head(low.squeeze(2) * high.squeeze(2)) + self.mix(mean)


class FoundSecond(nn.Module):
    """Squeeze and excitation between convolutions: each patch weighs its own map."""

    def __init__(self, pad: int = 0) -> None:
        super().__init__()
        self.conv, self.gate = nn.Conv2d(BANDS, 8, 3, padding=pad), nn.Linear(8, 8)
        self.second, self.head = nn.Conv2d(8, 8, 3, padding=pad), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv(x))
        x = x * torch.sigmoid(self.gate(x.mean((2, 3))))[:, :, None, None]
        return self.head(torch.relu(self.second(x)).mean((2, 3)))


class Padded(nn.Module):
    """As most nets for photographs are: zeros around every map."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(BANDS, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)])
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = torch.relu(conv(x))
        return self.head(functional.max_pool2d(x, 2).mean((2, 3)))


class Placed(nn.Module):
    """Looks at places of a patch with weights of their own, before a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.place, self.conv, self.head = (
            nn.Parameter(torch.randn(1, BANDS, 5, 5)),
            nn.Conv2d(BANDS, 4, 3),
            nn.Linear(4, CLASSES),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x + self.place).mean((2, 3)))


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(BANDS, 4, 3), nn.LayerNorm([4, 3, 3]), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.conv(x)).mean((2, 3)))


class Sideways(nn.Module):
    """Rows of a patch as channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(5, 4, 3), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x.transpose(1, 2)).mean((2, 3)))


class Summed(nn.Module):
    """Sums, maxima and means over one axis and over several, channels and spectrum among them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.deep = nn.Conv2d(BANDS, 6, 3), nn.Conv3d(1, 3, 3)
        self.head, self.rows = nn.Linear(6 + 3, CLASSES), nn.Linear(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        flat, deep = torch.relu(self.conv(x)), self.deep(x.unsqueeze(1))
        rows = self.rows(flat.amax(1).sum(2).flatten(1))
        return self.head(torch.cat([flat.sum((2, 3)), deep.mean(4).amax((2, 3))], 1)) + rows


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.key, self.head = nn.Linear(BANDS, 6), nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.key(x.flatten(2).transpose(1, 2))
        return self.head((torch.softmax(x @ x.transpose(1, 2), 2) @ x).mean(1))


@functools.cache
def stranger(kind: type[nn.Module], patch: int):
    return exported(seeded(kind), BANDS, patch)
