"""One window around the clips that resemble the sentence."""

import torch
from torch import Tensor, nn

from sadetr.losses.moment import span_losses
from sadetr.losses.saliency import margin_loss
from sadetr.models.interface import Batch, Method, Output, Step
from sadetr.shapes import FeatureShape
from toy.parts import Similarity
from toy.settings import ToySettings


class Toy(Method):
    def __init__(self, settings: ToySettings, shape: FeatureShape) -> None:
        super().__init__()
        self.similarity = Similarity(shape.video_width, shape.text_width, settings.hidden_width)
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
