"""EaTR: slots read events off the video, and become the moment queries of a decoder that is gated by the sentence."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from sadetr.losses.saliency import margin_loss
from sadetr.models.detr.encoders import JointEncoder
from sadetr.models.detr.objective import DetectionOutput, supervise
from sadetr.models.detr.parts import detection_heads, layer_sizes, projections, token_positions
from sadetr.models.eatr.events import pseudo_events, supervise_events
from sadetr.models.eatr.settings import EaTRSettings
from sadetr.models.interface import Batch, Length, Method, Shown, Step
from sadetr.nn.attention import EncoderLayer
from sadetr.nn.decoders import CentreEncoding, DABDecoder, DABDecoderLayer
from sadetr.nn.gating import GatedDecoderLayer
from sadetr.nn.layers import MLP, copies, xavier_matrices
from sadetr.nn.slots import SlotAttention
from sadetr.nn.spans import moved
from sadetr.shapes import FeatureShape


@dataclass(frozen=True)
class EaTROutput(DetectionOutput):
    """Predictions, and what the event losses need beside them."""

    anchors: Tensor
    """(B, N_q, 2) ``cw`` that the decoder starts from."""
    event_spans: Tensor
    """(B, N_q, 2) ``cw``, made as the anchors are, from normalised slots."""


class EaTR(Method):
    """Event-aware Transformer."""

    shown = Shown("decoder.layers.*.cross_attention", anchors=3)

    def __init__(self, settings: EaTRSettings, shape: FeatureShape) -> None:
        super().__init__()
        self.settings = settings
        width, sizes = settings.hidden_width, layer_sizes(settings)
        self.video_projection, self.text_projection = projections(settings, shape)
        self.token_positions = token_positions(settings)
        self.encoder = JointEncoder.of_copies(EncoderLayer(*sizes, nn.ReLU), settings.encoder_layers)
        self.slots = nn.Parameter(torch.empty(settings.num_moment_queries, width))
        nn.init.xavier_uniform_(self.slots)
        self.slot_attention = SlotAttention(width, (width,), settings.slot_iterations, settings.slot_padding)
        later = copies(DABDecoderLayer(*sizes, first=False, activation=nn.ReLU), settings.decoder_layers - 1)
        self.decoder = DABDecoder((GatedDecoderLayer(*sizes), *later), CentreEncoding(width), self._offset, width)
        for part in (self.encoder, self.slot_attention, self.decoder):
            xavier_matrices(part)
        self.event_norm = nn.LayerNorm(width)
        self.label_head, self.span_head = detection_heads(width)
        self.event_head = MLP(width, width, width, 2)
        # All anchors start in the middle of the video, and stay there until the heads have learned.
        for head in (self.span_head, self.event_head):
            nn.init.zeros_(head[-1].weight)
            nn.init.zeros_(head[-1].bias)
        self.saliency_head = nn.Linear(width, 1)

    def forward(self, batch: Batch, step: Step | None = None) -> EaTROutput:
        """Encode clips and words together, read events off the projected clips, decode them into moments."""
        video, text = self.video_projection(batch.video), self.text_projection(batch.text)
        places = None if self.token_positions is None else self.token_positions(text)
        memory = self.encoder.encode(video, batch.video_mask, text, batch.text_mask, places)
        clips = video.shape[1]
        slots = self.slots.expand(len(video), -1, -1)
        slots = self.slot_attention(slots, video + memory.positions[:, :clips], batch.video_mask)
        anchors = self.event_head(slots).sigmoid()
        sentence = self._sentence(text, batch.text_mask)
        # The layers read the anchors without their history, which only the spans of the first layer have.
        decoded = self.decoder(slots, anchors.detach(), replace(memory, sentence=sentence))
        starts = torch.cat((anchors[None], decoded.starts[1:]))
        return EaTROutput.of_layers(
            moved(starts, self.span_head(decoded.contents)),
            self.label_head(decoded.contents),
            self.saliency_head(memory.values[:, :clips]).squeeze(-1),
            anchors=anchors,
            event_spans=self.event_head(self.event_norm(slots)).sigmoid(),
        )

    @property
    def extendable(self) -> frozenset[Length]:
        """Slots, gate and events depend on the whole batch, unless each is a sample's own."""
        own = (self.settings.slot_padding, self.settings.sentence, self.settings.events) == ("excluded", "own", "own")
        return frozenset({"clips", "tokens", "windows"} if own else {"windows"})

    def objective(self, output: EaTROutput, batch: Batch) -> dict[str, Tensor]:
        """Set loss, saliency margin and the span losses on pseudo events."""
        settings = self.settings
        terms = supervise(output, batch, settings).terms
        margin = margin_loss(output.saliency, batch.positive_clips, batch.negative_clips, settings.saliency_margin)
        events = pseudo_events(batch.video, batch.video_mask, settings.events)
        supervised = supervise_events(output.event_spans, events, settings.matching)
        return terms | {
            "saliency_margin": settings.loss.saliency * margin,
            "event_l1": settings.event_weight * settings.loss.l1 * supervised.l1,
            "event_giou": settings.event_weight * settings.loss.giou * supervised.giou,
        }

    def _offset(self, content: Tensor) -> Tensor:
        """The head that predicts spans also moves the references between layers."""
        return self.span_head(content)

    def _sentence(self, text: Tensor, mask: Tensor) -> Tensor:
        """Largest value of every channel: (B, T, d) projected words and (B, T) mask -> (B, 1, d)."""
        if self.settings.sentence == "own":
            text = text.masked_fill(~mask.unsqueeze(-1), -torch.inf)
        return text.max(1, keepdim=True).values
