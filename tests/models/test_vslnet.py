"""VSLNet: which pair of clips it chooses, what its predictions may depend on, and how it reads words and characters."""

from dataclasses import replace

import pytest
import torch

from sadetr.configuration import load_method
from sadetr.errors import SettingsError
from sadetr.losses.boundaries import boundary_clips, extended_clips
from sadetr.models.interface import Batch
from sadetr.models.official import import_weights
from sadetr.models.vslnet.layers import CHARACTER_CHANNELS, CharacterEncoder
from sadetr.models.vslnet.model import VSLNet, losses, predicted
from sadetr.models.vslnet.official import OFFICIAL
from sadetr.models.vslnet.settings import VSLNetSettings
from sadetr.models.weights import official_network
from sadetr.nn.spans import cw_to_se
from sadetr.parity.fixture import read_fixture
from sadetr.shapes import FeatureShape
from tests.samples import SHAPE, SHARED, TEXT_WIDTH, VIDEO_WIDTH, agree, only, padded, shaken, small_batch, with_garbage

SMALL = {"hidden_width": 16, "num_heads": 2, "character_width": 6, "positions": 20, "dropout": 0.0}
SPELLED = FeatureShape(VIDEO_WIDTH, TEXT_WIDTH, clip_length=2.0, characters=12)
PREDICTORS = ("rnn", "transformer")
UNKNOWN = (0, 1)
"""Sample and place of a word without a vector."""


def small(shape=SHAPE, **changes) -> VSLNet:
    """A network none of whose parameters is constant, but for the character that is padding."""
    torch.manual_seed(0)
    model = shaken(VSLNet(VSLNetSettings.model_validate(SMALL | changes), shape))
    for module in model.modules():
        if isinstance(module, CharacterEncoder):
            module.table.weight.data[0] = 0
    return model.eval()


def spelled(batch: Batch) -> Batch:
    """The batch with words of one to seven characters, one of the words without a vector."""
    generator = torch.Generator().manual_seed(3)
    lengths = torch.randint(1, 8, batch.text_mask.shape, generator=generator) * batch.text_mask
    numbers = torch.randint(1, SPELLED.characters, (*lengths.shape, 7), generator=generator)
    known = torch.ones_like(batch.text_mask)
    known[UNKNOWN] = False
    characters = numbers * (torch.arange(7) < lengths.unsqueeze(-1))
    return replace(batch, text=batch.text * known.unsqueeze(-1), characters=characters)


def shortened(batch: Batch) -> Batch:
    """The batch with no more room for characters than its longest word takes."""
    longest = int((batch.characters != 0).sum(-1).max())
    return replace(batch, characters=batch.characters[..., :longest])


CASES = [(SHAPE, small_batch()), (SPELLED, spelled(small_batch()))]
each_text = pytest.mark.parametrize(("shape", "batch"), CASES, ids=["tokens", "words"])


@each_text
@pytest.mark.parametrize("predictor", PREDICTORS)
def test_a_batch_predicts_what_its_samples_predict_alone(shape, batch, predictor):
    model = small(shape, padding="masked", predictor=predictor)
    together = model(batch)
    for index, length in enumerate(batch.video_mask.sum(1)):
        alone = model(shortened(only(batch, index)))
        assert torch.equal(alone.boundaries[0], together.boundaries[index])
        for name in ("start", "end", "saliency"):
            agree(getattr(alone, name)[0], getattr(together, name)[index, :length])
        agree(alone.scores[0], together.scores[index])
        agree(alone.spans[0], together.spans[index])


@each_text
@pytest.mark.parametrize("predictor", PREDICTORS)
def test_padding_and_what_it_holds_change_no_loss(shape, batch, predictor):
    model = small(shape, padding="masked", predictor=predictor)
    expected = losses(model(batch), batch, model.settings)
    for changed in (padded(batch, clips=3, tokens=2, slots=1), with_garbage(batch)):
        found = losses(model(changed), changed, model.settings)
        assert all(torch.allclose(found[name], expected[name], rtol=1e-5) for name in expected)


@each_text
def test_the_published_convolutions_read_padding(shape, batch):
    """A sample's own prediction changes with the lengths of others, by what follows its clips, words and characters."""
    model = small(shape)
    alone, together = model(shortened(only(batch, 2))), model(batch)
    length = int(batch.video_mask[2].sum())
    assert (alone.start[0] - together.start[2, :length]).abs().max() > 1e-3


@pytest.mark.parametrize(("padding", "changed"), [("read", True), ("masked", False)])
def test_room_behind_a_word_is_a_character_as_published(padding, changed):
    torch.manual_seed(0)
    encoder = CharacterEncoder(12, VSLNetSettings.model_validate(SMALL | {"padding": padding}))
    with torch.no_grad():
        for convolution in encoder.convolutions:
            convolution.bias.fill_(3.0)
    word = torch.tensor([[[3, 5, 7, 2, 9]]])
    wider = torch.nn.functional.pad(word, (0, 4))
    encoder.eval()
    assert encoder(word).shape == (1, 1, sum(CHARACTER_CHANNELS))
    assert ((encoder(wider) - encoder(word)).abs().max() > 1e-4) == changed


def test_short_words_and_none_at_all_have_an_encoding():
    encoder = CharacterEncoder(12, VSLNetSettings.model_validate(SMALL | {"padding": "masked"}))
    found = encoder(torch.tensor([[[4], [0]]]))
    assert found[0, 0].abs().max() > 0
    assert not found[0, 1].any()


def test_words_without_a_vector_share_a_learned_one():
    model, batch = small(SPELLED), spelled(small_batch())
    model.train()
    losses(model(batch), batch, model.settings)["location"].backward()
    assert model.text_projection.unknown.grad.abs().max() > 0
    before = model.text_projection(batch.text, batch.text_mask, batch.characters)
    with torch.no_grad():
        model.text_projection.unknown += 1.0
    moved = (model.text_projection(batch.text, batch.text_mask, batch.characters) - before).abs().amax(-1) > 1e-6
    expected = torch.zeros_like(moved)
    expected[UNKNOWN] = True
    assert torch.equal(moved, expected)


def test_temporal_endpoint_features_are_not_read():
    model, batch = small(), small_batch()
    changed = batch.video.clone()
    changed[..., -2:] += 5.0
    assert torch.equal(model(replace(batch, video=changed)).start, model(batch).start)


def test_the_window_is_the_most_probable_pair_in_order():
    torch.manual_seed(0)
    lengths = torch.tensor([6, 4, 1])
    mask = torch.arange(6) < lengths[:, None]
    for _ in range(20):
        start, end = (torch.randn(3, 6).mul(2).masked_fill(~mask, -1e30) for _ in range(2))
        output = predicted(start, end, torch.zeros(3, 6), mask)
        for row, length in enumerate(lengths.tolist()):
            pairs = {
                (first, last): float(start[row].softmax(0)[first] * end[row].softmax(0)[last])
                for first in range(length)
                for last in range(first, length)
            }
            first, last = max(pairs, key=pairs.get)
            assert output.boundaries[row].tolist() == [first, last]
            assert output.scores[row].item() == pytest.approx(pairs[first, last], rel=1e-5)
            agree(cw_to_se(output.spans[row, 0]), torch.tensor([first / length, (last + 1) / length]))


def test_a_video_that_is_longer_than_the_positions_is_refused():
    batch = small_batch((21, 4, 4))
    with pytest.raises(SettingsError, match=r"21 clips.*positions for 20.*raise positions"):
        small()(batch)


@pytest.fixture(params=["case_a", "case_b"])
def fixture(request):
    path = SHARED / "parity/vslnet" / f"{request.param}.safetensors"
    if not path.exists():
        pytest.skip(f"{path} is absent; set SADETR_SHARED to the folder that holds parity/")
    return read_fixture(path)


def test_sizes_and_predictor_are_read_off_a_checkpoint_alone(fixture):
    tensors = fixture.group("weight")
    model, settings = official_network(load_method("vslnet"), tensors)
    options = fixture.meta["config"]
    assert settings.predictor == options["predictor"]
    assert (settings.hidden_width, settings.positions) == (options["dim"], options["max_pos_len"])
    assert settings.character_width == options["char_dim"]
    imported = import_weights(tensors, OFFICIAL, model.state_dict())
    assert set(imported.unused) == {f"embedding_net.word_emb.{name}" for name in ("glove_vec", "pad_vec")}
    assert model.text_projection.characters.table.weight.shape[0] == options["char_size"]


def test_logits_and_labels_are_the_authors(fixture):
    """Padded clips hold -1e30: beside it a comparison of whole tensors, as parity makes it, sees no other entry."""
    batch = OFFICIAL.batch(fixture)
    model, settings = official_network(load_method("vslnet"), fixture.group("weight"), fixture)
    model.load_state_dict(import_weights(fixture.group("weight"), OFFICIAL, model.state_dict()).weights)
    output, mask = model.eval()(batch), batch.video_mask
    agree(output.start[mask], fixture["eval_output.start_logits"][mask])
    agree(output.end[mask], fixture["eval_output.end_logits"][mask])
    boundaries = boundary_clips(batch.spans[:, 0], mask.sum(1))
    assert torch.equal(boundaries, torch.stack((fixture["target.start"], fixture["target.end"]), 1))
    assert torch.equal(extended_clips(boundaries, mask, settings.loss.extension), fixture["target.highlight"].bool())
