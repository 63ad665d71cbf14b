"""CLIP's two towers (Radford et al. 2021, openai/CLIP). Their tensors have the names of the official file.

Sizes follow from the tensors; a head is 64 wide, as in all published vision transformers of CLIP.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

HEAD_WIDTH = 64
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""Of red, green and blue between 0 and 1, in CLIP's training images."""


class LayerNorm(nn.LayerNorm):
    """Layer norm that computes in float32 whatever its input is."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float()).to(x.dtype)


class Attention(nn.Module):
    """Self-attention with one matrix for queries, keys and values."""

    def __init__(self, width: int):
        super().__init__()
        self.heads = max(1, width // HEAD_WIDTH)
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, causal: bool) -> Tensor:
        """(B, T, width) -> the same shape."""
        projected = functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        query, key, value = projected.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value, is_causal=causal)
        return self.out_proj(attended.transpose(1, 2).flatten(2))


class Perceptron(nn.Module):
    """Two layers, four times wider between them, with the sigmoid approximation of GELU."""

    def __init__(self, width: int):
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.c_fc(x)
        return self.c_proj(hidden * torch.sigmoid(1.702 * hidden))


class Block(nn.Module):
    """One layer of a transformer, norms first."""

    def __init__(self, width: int):
        super().__init__()
        self.attn = Attention(width)
        self.ln_1 = LayerNorm(width)
        self.mlp = Perceptron(width)
        self.ln_2 = LayerNorm(width)

    def forward(self, x: Tensor, causal: bool) -> Tensor:
        x = x + self.attn(self.ln_1(x), causal)
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """``layers`` blocks."""

    def __init__(self, width: int, layers: int):
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width) for _ in range(layers))

    def forward(self, x: Tensor, causal: bool = False) -> Tensor:
        for block in self.resblocks:
            x = block(x, causal)
        return x


class ImageTower(nn.Module):
    """CLIP's vision transformer: the class token after the last layer norm, projected."""

    def __init__(self, width: int, layers: int, patch: int, patches: int, embedding: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(patches + 1, width))
        self.ln_pre = LayerNorm(width)
        self.transformer = Transformer(width, layers)
        self.ln_post = LayerNorm(width)
        self.proj = nn.Parameter(torch.empty(width, embedding))

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "ImageTower":
        """A tower without weights, of the sizes that ``tensors`` (names without ``visual.``) show."""
        width, _, patch, _ = tensors["conv1.weight"].shape
        patches = len(tensors["positional_embedding"]) - 1
        return cls(width, _layers(tensors), patch, patches, tensors["proj"].shape[1])

    @property
    def width(self) -> int:
        """Channels of the result."""
        return self.proj.shape[1]

    @property
    def patch(self) -> int:
        """Height and width of a patch in pixels."""
        return self.conv1.kernel_size[0]

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, 3, 224, 224) bytes or numbers of 0 to 255 -> (B, embedding), not normalised."""
        dtype = self.conv1.weight.dtype
        mean, std = (torch.tensor(values, device=pictures.device).view(3, 1, 1) for values in (MEAN, STD))
        x = self.conv1(((pictures.float() / 255 - mean) / std).to(dtype)).flatten(2).transpose(1, 2)
        first = self.class_embedding.to(dtype).expand(len(x), 1, -1)
        x = torch.cat((first, x), 1) + self.positional_embedding.to(dtype)
        x = self.transformer(self.ln_pre(x))
        return self.ln_post(x[:, 0]) @ self.proj


class TextTower(nn.Module):
    """CLIP's text transformer, causal."""

    def __init__(self, vocabulary: int, context: int, width: int, layers: int, embedding: int):
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.positional_embedding = nn.Parameter(torch.empty(context, width))
        self.transformer = Transformer(width, layers)
        self.ln_final = LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, embedding))

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "TextTower":
        """A tower without weights, of the sizes that ``tensors`` show."""
        vocabulary, width = tensors["token_embedding.weight"].shape
        context, embedding = len(tensors["positional_embedding"]), tensors["text_projection"].shape[1]
        return cls(vocabulary, context, width, _layers(tensors), embedding)

    @property
    def width(self) -> int:
        """Channels of a token."""
        return self.token_embedding.weight.shape[1]

    @property
    def context(self) -> int:
        """Tokens that it reads at most."""
        return len(self.positional_embedding)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) numbers that end with the end token, of one length -> (B, T, width) after the last layer norm, and
        the last token's projection (B, embedding), not normalised.

        Later tokens change no earlier row, so that padding, which official code adds, would change nothing.
        """
        x = self.token_embedding(tokens) + self.positional_embedding[: tokens.shape[1]]
        hidden = self.ln_final(self.transformer(x.to(self.text_projection.dtype), causal=True))
        return hidden, hidden[:, -1] @ self.text_projection


def halve(tower: nn.Module) -> nn.Module:
    """``tower`` in float16 but for its layer norms and embeddings, as OpenAI's code has it on a GPU."""
    for module in tower.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | Attention):
            module.half()
    for name in ("proj", "text_projection"):
        if isinstance(parameter := getattr(tower, name, None), nn.Parameter):
            parameter.data = parameter.data.half()
    return tower


def _layers(tensors: Mapping[str, Tensor]) -> int:
    return len({name.split(".")[2] for name in tensors if name.startswith("transformer.resblocks.")})
