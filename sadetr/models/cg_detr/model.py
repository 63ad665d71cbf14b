"""CG-DETR: clips attend to words as far as these apply to them; the rest of their attention goes to dummies."""

import torch
from torch import Tensor, nn

from sadetr.models.cg_detr.correlation import Correlation, relevant_clips
from sadetr.models.cg_detr.fusion import AdaptiveFusion, SaliencyPrompts, Text
from sadetr.models.cg_detr.objective import CGDETROutput, terms
from sadetr.models.cg_detr.settings import CGDETRSettings
from sadetr.models.cg_detr.tokens import LeadingTokens
from sadetr.models.detr.encoders import Stack
from sadetr.models.detr.parts import QueryAnchors, detection_heads, layer_sizes, projections, token_positions
from sadetr.models.detr.texts import TextPairs, next_source_texts, tiled_word_mask
from sadetr.models.interface import Batch, Length, Method, Shown, Step
from sadetr.nn.attention import EncoderLayer
from sadetr.nn.decoders import AnchorEncoding, DABDecoder, Memory, dab_layers, reference_offset
from sadetr.nn.layers import masked_mean, xavier_matrices
from sadetr.nn.positions import clip_positions
from sadetr.nn.spans import moved
from sadetr.nn.stochastic import DropPath
from sadetr.nn.tokens import HighlightHead
from sadetr.shapes import FeatureShape

TEXT, VIDEO = 0, 1
"""Rows of the type embedding."""


class CGDETR(Method):
    """Correlation-Guided DETR."""

    shown = Shown("decoder.layers.*.cross_attention", anchors=3)

    def __init__(self, settings: CGDETRSettings, shape: FeatureShape) -> None:
        super().__init__()
        self.settings = settings
        width, sizes = settings.hidden_width, layer_sizes(settings)
        text_sizes = width, settings.text_heads, settings.feedforward_width, settings.text_dropout
        self.video_projection, self.text_projection = projections(settings, shape)
        self.token_positions = token_positions(settings)
        self.types = nn.Embedding(2, width)
        nn.init.normal_(self.types.weight, std=0.02)
        self.dummies = LeadingTokens(settings.num_dummies, settings.dummy_layers, *text_sizes)
        self.sentences = LeadingTokens(None, settings.sentence_layers, *text_sizes)
        self.moments = LeadingTokens(None, settings.moment_layers, *sizes)
        self.fusion = AdaptiveFusion(settings.fusion_layers, *sizes)
        self.prompts = SaliencyPrompts(settings.num_prompts, settings.chosen_prompts, width)
        layer = EncoderLayer(*sizes, residual=DropPath(settings.dropout))
        self.encoder = Stack.of_copies(layer, settings.encoder_layers)
        layers = dab_layers(settings.decoder_layers, *sizes)
        self.decoder = DABDecoder(layers, AnchorEncoding(width), reference_offset(width), width)
        # The encoders of dummies and sentences keep PyTorch's initialisation, as published.
        for part in (self.moments.encoder, self.fusion, self.encoder, self.decoder):
            xavier_matrices(part)
        self.anchors = QueryAnchors(width, settings.num_moment_queries, dynamic=False)
        self.label_head, self.span_head = detection_heads(width)
        self.highlight_head = HighlightHead(width)

    def forward(self, batch: Batch, step: Step | None = None) -> CGDETROutput:
        """Encode and decode; with a ``step`` also the next sample's text, never decoded, and moments and sentences."""
        video = self.video_projection(batch.video) + self.types.weight[VIDEO]
        positions = clip_positions(batch.video_mask, video.shape[-1]).to(video.dtype)
        text = self._text(batch)
        pairs = TextPairs(None if step is None else next_source_texts(batch))
        encoded, attention = self._encode(video, positions, text, pairs, batch)
        (own, other), (attention, other_attention) = pairs.split(encoded), pairs.split(attention)
        anchors = self.anchors(own[:, 0])
        content = own.new_zeros(*anchors.shape[:2], own.shape[-1])
        decoded = self.decoder(content, anchors, Memory(own[:, 1:], positions, batch.video_mask))
        return CGDETROutput.of_layers(
            moved(decoded.starts, self.span_head(decoded.contents)),
            self.label_head(decoded.contents),
            self.highlight_head(own),
            attention=attention,
            text_attention=text.share(attention).clamp(0, 1),
            negative_saliency=None if other is None else self.highlight_head(other),
            negative_text_attention=None if other is None else text.share(other_attention).clamp(0, 1),
            dummies=text.values[:, : text.dummies],
            prompts=self.prompts.tokens,
            correlation=None if step is None else self._correlate(video, positions, text, batch),
        )

    @property
    def extendable(self) -> frozenset[Length]:
        """Padded clips and words count in the losses, unless they are masked."""
        masked = self.settings.padding == "masked"
        return frozenset({"clips", "tokens", "windows"} if masked else {"windows"})

    def objective(self, output: CGDETROutput, batch: Batch) -> dict[str, Tensor]:
        """Set loss; saliency of scores and of the attention to words; moments and sentences, dummies and prompts."""
        return terms(output, batch, self.settings)

    def _text(self, batch: Batch) -> Text:
        """Dummies that have read the words, and the words, which have not."""
        words = self.text_projection(batch.text) + self.types.weight[TEXT]
        places = torch.zeros_like(words) if self.token_positions is None else self.token_positions(words)
        count = self.settings.num_dummies
        dummies = self.dummies(words, places, batch.text_mask)[:, :count]
        return Text(
            torch.cat((dummies, words), 1),
            torch.cat((self.dummies.positions.expand_as(dummies), places), 1),
            torch.cat((batch.text_mask.new_ones(len(words), count), batch.text_mask), 1),
            count,
        )

    def _encode(
        self, video: Tensor, positions: Tensor, text: Text, pairs: TextPairs, batch: Batch
    ) -> tuple[Tensor, Tensor]:
        """Fuse and encode every video with each of its texts, saliency token in row 0 and added to the clips.

        Positions of words stay those of the sample's own text in both passes, as published.

        Returns:
            (C B, L+1, d) of the pairs, and (C B, L, K+T) attention of their clips to dummies and words.
        """
        mask = batch.video_mask
        both = Text(pairs.texts(text.values), pairs.videos(text.positions), pairs.texts(text.mask), text.dummies)
        clips, attention = self.fusion(
            pairs.videos(video), pairs.videos(positions), both, self._visible(batch, text, pairs)
        )
        context = masked_mean(video, mask).detach()
        importance = text.share(attention).detach() * pairs.videos(mask)
        similarities = pairs.videos(self.prompts.similarities(video, context))
        token = self.prompts.mix(similarities, importance, pairs.videos(context)).unsqueeze(1)
        token = self.fusion.alone(token)
        places = torch.cat((self.prompts.position.expand(len(video), 1, -1), positions), 1)
        seen = torch.cat((mask.new_ones(len(mask), 1), mask), 1)
        encoded = self.encoder(torch.cat((token, clips), 1), pairs.videos(places), pairs.videos(seen))
        token, clips = encoded[:, :1], encoded[:, 1:]
        return torch.cat((token, clips + token), 1), attention

    def _visible(self, batch: Batch, text: Text, pairs: TextPairs) -> Tensor:
        """Dummies and words that clips may attend to, (C B, K+T) or (C B, h, L, K+T) bool."""
        if self.settings.word_mask == "own":
            return pairs.texts(text.mask)
        heads = self.settings.num_heads
        visible = tiled_word_mask(batch.video_mask, text.mask, heads)
        if pairs.others is None:
            return visible
        # Published, the second pass holds the samples with a real negative alone, and tiles their masks.
        words, real = pairs.others.take(text.mask), pairs.others.real
        tiled = tiled_word_mask(batch.video_mask, words, heads, real)
        return torch.cat((visible, torch.where(real.view(-1, 1, 1, 1), tiled, words[:, None, None])))

    def _correlate(self, video: Tensor, positions: Tensor, text: Text, batch: Batch) -> Correlation:
        """Encode relevant clips, the other clips, words and dummies, each with a token in front."""
        relevant, count = relevant_clips(batch), text.dummies
        seen = torch.cat((batch.video_mask & relevant, batch.video_mask & ~relevant))
        moments, others = self.moments(video.repeat(2, 1, 1), positions.repeat(2, 1, 1), seen).chunk(2)
        dummies, words = (
            self.sentences(text.values[:, part], text.positions[:, part], text.mask[:, part])
            for part in (slice(None, count), slice(count, None))
        )
        return Correlation(
            moment=moments[:, 0],
            others=others[:, 0],
            moment_clips=moments[:, 1:],
            other_clips=others[:, 1:],
            sentence=words[:, 0],
            dummy_sentence=dummies[:, 0],
            text=torch.cat((dummies[:, 1:], words[:, 1:]), 1),
            text_mask=text.mask,
        )
