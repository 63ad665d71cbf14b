"""CLIP and SlowFast: sizes, equality with well-kept libraries on random weights, and files of weights."""

import pickle

import numpy as np
import pytest
import safetensors.torch
import torch

from sadetr.errors import ResultsError
from sadetr.extraction import weights
from sadetr.extraction.clip import ImageTower, TextTower, halve
from sadetr.extraction.slowfast import SlowFast
from sadetr.extraction.weights import _pytorchvideo_names
from tests.extraction import networks

PICTURES = torch.randint(0, 256, (2, 3, 224, 224), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
CLIPS = torch.randint(0, 256, (1, 3, 32, 224, 224), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
SENTENCES = torch.tensor([[520, 5, 17, 300, 12, 521], [520, 9, 9, 8, 7, 521]])


def test_official_sizes():
    image, text, video = ImageTower(768, 12, 32, 49, 512), TextTower(49_408, 77, 512, 12, 512), SlowFast()
    sizes = [sum(parameter.numel() for parameter in each.parameters()) for each in (image, text)]
    # 151,277,313 of openai/CLIP's ViT-B/32 are these and the logit scale.
    assert sum(sizes) + 1 == 151_277_313
    # 34.57 million with the classifier of 400 actions.
    assert round((sum(each.numel() for each in video.parameters()) + 2304 * 400 + 400) / 1e6, 2) == 34.57
    assert (image.width, text.width, text.context, video.width) == (512, 512, 77, 2304)


def test_slowfast_is_rectified_and_independent_of_its_neighbours():
    network = networks.slowfast()
    pair = torch.cat((CLIPS, 255 - CLIPS))
    found = network(pair)
    assert found.shape == (2, 256 + 32)
    assert (found >= 0).all()
    assert (found > 0).any(0).float().mean() > 0.5
    torch.testing.assert_close(found[:1], network(CLIPS), rtol=1e-5, atol=1e-6)


def test_the_slow_pathway_sees_eight_of_the_pictures():
    network = networks.slowfast()
    other = CLIPS.clone()
    seen = set(network.positions)
    other[:, :, [place for place in range(32) if place not in seen]] = 0
    assert torch.equal(
        network.slow.begin(CLIPS[:, :, network.positions].float()),
        network.slow.begin(other[:, :, network.positions].float()),
    )
    assert not torch.equal(network(CLIPS)[:, 256:], network(other)[:, 256:])


def test_later_tokens_change_no_earlier_row():
    tower = networks.text_tower()
    hidden, pooled = tower(SENTENCES)
    cut, _ = tower(SENTENCES[:, :4])
    assert (hidden.shape, pooled.shape) == ((2, 6, 32), (2, 32))
    torch.testing.assert_close(cut, hidden[:, :4], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(pooled, hidden[:, -1] @ tower.text_projection)


def test_half_precision_keeps_norms_and_embeddings():
    tower = halve(networks.text_tower())
    kinds = {name: value.dtype for name, value in tower.state_dict().items()}
    single = {name for name, dtype in kinds.items() if dtype == torch.float32}
    assert all("ln_" in name or "embedding" in name for name in single)
    assert kinds["text_projection"] == kinds["transformer.resblocks.0.attn.in_proj_weight"] == torch.float16
    tower = halve(networks.image_tower())
    assert tower.proj.dtype == tower.conv1.weight.dtype == torch.float16
    torch.testing.assert_close(tower(PICTURES).float(), networks.image_tower()(PICTURES), rtol=0.05, atol=0.05)


def test_clip_equals_transformers(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    vision = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**vision, "vocab_size": 522, "bos_token_id": 520, "eos_token_id": 521, "pad_token_id": 0}
    config = transformers.CLIPConfig(text_config=text, vision_config={**vision, "patch_size": 32}, projection_dim=64)
    theirs = networks.randomise(transformers.CLIPModel(config))
    file = tmp_path / "model.safetensors"
    safetensors.torch.save_file({name: each.contiguous() for name, each in theirs.state_dict().items()}, file)
    image, words = weights.image_tower(file), weights.text_tower(file)
    from sadetr.extraction.clip import MEAN, STD

    pixels = (PICTURES / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    seen = theirs.vision_model(pixel_values=pixels).pooler_output @ theirs.visual_projection.weight.T
    torch.testing.assert_close(image(PICTURES), seen, rtol=1e-5, atol=1e-5)
    read = theirs.text_model(input_ids=SENTENCES)
    hidden, pooled = words(SENTENCES)
    torch.testing.assert_close(hidden, read.last_hidden_state, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(pooled, read.pooler_output @ theirs.text_projection.weight.T, rtol=1e-5, atol=1e-5)


def test_slowfast_equals_pytorchvideo(tmp_path):
    zoo = pytest.importorskip("pytorchvideo.models.slowfast", reason="pytorchvideo is not installed, or not usable")
    theirs = networks.randomise(zoo.create_slowfast(model_depth=50, slowfast_fusion_conv_kernel_size=(7, 1, 1)))
    file = tmp_path / "hub.pt"
    torch.save({"model_state": theirs.state_dict()}, file)
    ours = weights.slowfast(file)
    pictures = (CLIPS / 255 - 0.45) / 0.225
    pathways = [pictures[:, :, ours.positions], pictures]
    for block in theirs.blocks[:5]:
        pathways = block(pathways)
    expected = torch.cat([each.mean((2, 3, 4)) for each in pathways], 1)
    assert expected.abs().max() > 0.01
    torch.testing.assert_close(ours(CLIPS), expected, rtol=1e-5, atol=1e-5)


def test_published_files_are_read_whole(tmp_path):
    state = networks.slowfast().state_dict()
    read = weights.slowfast(networks.write_slowfast(tmp_path / "SLOWFAST_8x8_R50.pkl"))
    assert all(torch.equal(value, state[name]) for name, value in read.state_dict().items())
    assert not read.training
    file = networks.write_clip(tmp_path / "ViT-B-32.pt")
    for tower, own in (
        (weights.image_tower(file), networks.image_tower()),
        (weights.text_tower(file), networks.text_tower()),
    ):
        assert all(
            torch.equal(value, own.state_dict()[name].half().float()) for name, value in tower.state_dict().items()
        )
        assert not tower.training


def test_names_of_the_hub_cover_the_network():
    ours = {name for _, name in _pytorchvideo_names()}
    needed = {name for name in networks.slowfast().state_dict() if not name.endswith("num_batches_tracked")}
    assert needed <= ours


class Evil:
    def __reduce__(self):
        return print, ("ran",)


def damaged(tmp_path, kind):
    pkl, script = tmp_path / "weights.pkl", tmp_path / "weights.pt"
    if kind == "code":
        pkl.write_bytes(pickle.dumps({"blobs": {"conv1_w": Evil()}}))
    elif kind == "incomplete":
        blobs = networks.caffe2_blobs(networks.slowfast())
        del blobs["blobs"]["t_res3_3_branch2c_bn_subsample_bn_riv"]
        pkl.write_bytes(pickle.dumps(blobs, 2))
    elif kind == "another network":
        blobs = networks.caffe2_blobs(networks.slowfast())
        blobs["blobs"]["res4_2_branch2b_w"] = np.zeros((1, 2, 1, 3, 3), np.float32)
        pkl.write_bytes(pickle.dumps(blobs, 2))
    elif kind == "cut off":
        whole = networks.write_clip(script).read_bytes()
        script.write_bytes(whole[: len(whole) // 2])
    elif kind == "a page":
        script.write_text("<html><title>Sign in</title></html>")
    elif kind == "text only":
        networks.write_clip(script, networks.text_tower().state_dict())
    elif kind == "a checkpoint":
        torch.save({"model": {"a": torch.zeros(2)}}, script)
    return pkl if pkl.exists() else script


REFUSED = {
    "code": r"asks for builtins\.print",
    "incomplete": r"holds no 'fusions\.2\.norm\.running_var'",
    "another network": r"'slow\.stages\.2\.2\.b\.conv\.weight' of SlowFast has shape \[1, 2, 1, 3, 3\]",
    "cut off": "cut off",
    "a page": "HTML page",
    "text only": "holds no CLIP's image tower",
    "a checkpoint": "holds no module",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_wrong_files_are_one_error(tmp_path, kind, capsys):
    file = damaged(tmp_path, kind)
    with pytest.raises(ResultsError, match=REFUSED[kind]) as caught:
        (weights.slowfast if file.suffix == ".pkl" else weights.image_tower)(file)
    assert str(file) in str(caught.value)
    assert capsys.readouterr().out == ""


def test_a_missing_file_is_one_error(tmp_path):
    for read, name in (
        (weights.slowfast, "a.pkl"),
        (weights.image_tower, "a.pt"),
        (weights.text_tower, "a.safetensors"),
    ):
        with pytest.raises(ResultsError, match=r"No such file|FileNotFound"):
            read(tmp_path / name)
