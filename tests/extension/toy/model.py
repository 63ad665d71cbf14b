"""One window around the clips that resemble the sentence."""

import torch
from torch import Tensor, nn

from sadetr.losses.moment import span_losses
from sadetr.losses.saliency import margin_loss
from sadetr.models.interface import Batch, Method, Output, Step
from sadetr.settings import RunSettings
from toy.parts import Similarity


class Toy(Method):
    def __init__(self, width: int, video_width: int, text_width: int) -> None:
        super().__init__()
        self.similarity = Similarity(video_width, text_width, width)
        self.width = nn.Parameter(torch.zeros(1))

    def forward(self, batch: Batch, step: Step | None = None) -> Output:
        saliency = self.similarity(batch.video, batch.text)
        attention = saliency.masked_fill(~batch.video_mask, -torch.inf).softmax(-1)
        place = torch.linspace(0, 1, saliency.shape[1], device=saliency.device)
        centre = attention @ place
        spans = torch.stack((centre, self.width.sigmoid().expand_as(centre)), -1).unsqueeze(1)
        return Output(spans=spans, scores=attention.amax(-1, keepdim=True), saliency=saliency)

    def objective(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        l1, _ = span_losses(output.spans[None], batch.spans[:, :1], batch.spans_mask[:, :1])
        margin = margin_loss(output.saliency, batch.positive_clips, batch.negative_clips, 0.2)
        return {"l1": l1, "saliency_margin": margin}


def build(settings: RunSettings) -> Toy:
    dataset = settings.dataset
    return Toy(settings.model.hidden_width, dataset.video_width + 2, dataset.text_stream.width)
