"""The paper's claims: all of them fit the tables, and which of them the paper's own numbers contradict."""

import re
from pathlib import Path

import pytest
import yaml

from sadetr.configuration import load_scale
from sadetr.errors import SettingsError
from sadetr.experiments import experiment_names, load_experiment
from sadetr.layering import CONFIG
from sadetr.reporting.claims import load_claims
from sadetr.reporting.judgement import judge_claims, printed_claim
from sadetr.reporting.requirements import compared_table
from sadetr.reporting.scores import ScaleResults

CONTRADICTED = {
    "table1_all_moment_metrics": "CG-DETR has 65.43 R1@0.5, SA-DETR 64.96",
    "table2_gain_over_bam_detr": "41.51 - 39.38 is 2.13 (D67)",
    "table4_denoising_on_initialization": "R1@0.5 and R1@0.7 of (f) are below those of (c)",
    "table4_denoising_and_initialization_boost": "5.56 mAP together, 4.68 and 2.98 alone",
    "table6_both_best": "modulation alone has the best R1@0.7, 52.77",
    "table7_order_best": "both before fusion have the best R1@0.7 and HD mAP",
    "table8_shrinking_margin": "52.19 R1@0.7, 52.32 without negative groups",
    "table8_fixed_margin_best": "the shrinking margin has the best R1@0.5, 67.55",
    "table10_ctm_both_tasks": "63.42 HIT@1, 63.55 without it (D74)",
    "table10_both_best": "L_ctm alone has 52.58 R1@0.7, both 52.52",
    "table11_dynamic_anchors": "R1@0.5 falls from 62.52 to 62.06",
    "table11_gaussian_mask": "R1@0.5 falls from 62.06 to 62.00",
}
"""Claim -> the numbers that contradict it."""
NOT_PRINTED = {
    "table7_order_best_map": "the first row's mAP is lost (D68)",
    "figure5_others": "D66",
    "figure5_denoising": "D66",
    "figure6_five_best": "D66",
    "figure6_few": "D66",
    "figure6_many": "D66",
}
"""Claim -> why the paper's numbers say nothing."""


@pytest.fixture(scope="module")
def experiments():
    loaded = [load_experiment(name, "paper") for name in experiment_names()]
    return [(experiment, compared_table(experiment)) for experiment in loaded]


@pytest.fixture(scope="module")
def judged(experiments, tmp_path_factory):
    """Of a scale without runs: what the paper's numbers say by themselves."""
    scale = load_scale("paper")
    source = ScaleResults(tmp_path_factory.mktemp("nothing"), scale)
    claims = judge_claims(load_claims(experiments), scale, source, lambda *_: 1.0, 0.05)
    return {judged.claim.name: judged for judged in claims}


def test_every_table_and_figure_with_numbers_is_spoken_of(judged):
    assert len(judged) >= 35
    spoken_of = {claim.claim.experiment.name for claim in judged.values()}
    assert spoken_of == {f"table{number}" for number in (*range(1, 9), 10, 11, 12)} | {"figure5", "figure6"}
    for name, claim in judged.items():
        assert name.startswith(f"{claim.claim.experiment.name}_")
        assert re.fullmatch(r"[1-5](\.\d)?|A\.\d", claim.claim.section)


def test_what_the_paper_contradicts_is_what_its_numbers_say(judged):
    contradicted = {name for name, claim in judged.items() if claim.verdict == "contradicted by the paper itself"}
    assert contradicted == CONTRADICTED.keys()
    assert {name for name, claim in judged.items() if claim.printed == "open"} == NOT_PRINTED.keys()
    doubtful = {name for name, claim in judged.items() if claim.claim.doubtful}
    assert {"table2_sfc_best", "table1_almost_all_moment_metrics"} <= doubtful
    required = {name for name, claim in judged.items() if claim.required}
    assert required == judged.keys() - {*CONTRADICTED, *NOT_PRINTED} - doubtful
    assert len(required) > 25


def test_the_worst_contradiction_is_named(judged):
    assert judged["table2_gain_over_bam_detr"].reason == "SA-DETR SF+C - BAM-DETR SF+C in R1@0.7: +2.13, not +1.13"
    assert judged["table2_gain_over_mh_detr"].paper_difference == 4.69
    assert printed_claim(judged["table4_denoising_on_initialization"]) == (
        "table4_denoising_on_initialization",
        "4.4, Table 4",
        "Denoising added to query initialization, (f) against (c), improves moment retrieval.",
        "-0.39",
        "–",
        "–",
        "–",
        "contradicted by the paper itself: f - c in R1@0.5: -0.39",
    )


def test_others_are_rows_of_the_paper_with_a_number_in_the_metric(judged):
    def lower(name, metric):
        return {row.key for each in judged[name].claim.contrasts if each.metric == metric for row in each.minus}

    assert lower("table3_best", "R1@0.3") == {"2D-TAN", "VSLNet", "M-DETR", "UniVTG", "CG-DETR", "BAM-DETR"}
    assert lower("table3_best", "R1@0.5") == lower("table3_best", "R1@0.3") | {"UVCOM"}
    assert lower("figure6_five_best", "mAP") == {"0", "1", "3", "7", "9"}


def test_claims_are_in_our_words(judged, shared):
    """No six words in a row as the paper has them."""
    (path,) = shared("paper").glob("*.txt")
    words = re.findall(r"\w+", path.read_text(encoding="utf-8").lower())
    printed = {tuple(words[start : start + 6]) for start in range(len(words))}
    for claim in judged.values():
        ours = re.findall(r"\w+", claim.claim.text.lower())
        assert not printed & {tuple(ours[start : start + 6]) for start in range(len(ours) - 5)}, claim.claim.text


VALID = {
    "section": "4.4",
    "experiment": "table4",
    "text": "(b) beats (a).",
    "kind": "higher",
    "metrics": ["mAP"],
    "higher": ["b"],
    "lower": ["a"],
}
INTERACTION = {"kind": "interaction", "together": "f", "alone": ["c", "e"], "without": "a"}


@pytest.fixture
def load(tmp_path, experiments):
    """Load one claim, called ``said``."""

    def read(**changes):
        (tmp_path / "paper").mkdir()
        (tmp_path / "experiments").mkdir()
        for name in ("table1", "table2", "table4", "table9"):
            (tmp_path / "experiments" / f"{name}.yaml").symlink_to(CONFIG / "experiments" / f"{name}.yaml")
        fields = {key: value for key, value in {**VALID, **changes}.items() if value is not None}
        (tmp_path / "paper" / "claims.yaml").write_text(yaml.safe_dump({"claims": {"said": fields}}))
        return load_claims(experiments, Path(tmp_path))

    return read


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"experiment": "table44"}, "claim 'said': unknown table or figure 'table44'; the nearest is 'table4'. Known"),
        ({"metrics": ["mAp"]}, "claim 'said': table4 has no metric 'mAp'; the nearest is 'mAP'. Known: R1@0.5, R1@0.7"),
        ({"lower": ["k"]}, "claim 'said': table4 has no row 'k'; the nearest is "),
        ({"higher": ["b", "B"]}, "table4 has no row 'B'"),
        ({"lower": ["b"]}, "claim 'said': row 'b' is named twice"),
        ({"experiment": "table9"}, "table9 has no metric 'mAP'. Known: none"),
        (
            {"experiment": "table2", "metrics": ["R1@0.5"], "higher": ["SA-DETR VGG"], "lower": ["2D-TAN SF+C"]},
            "claim 'said': rows SA-DETR VGG, 2D-TAN SF+C are of different settings (charades_sta, charades_sta_vgg)",
        ),
        ({"lower": ["other"]}, "claim 'said': table4 has no row 'other'"),
        ({"gain": 1.0, "lower": ["a", "c"]}, "a quoted gain is of one row over one other in one metric"),
        ({"gain": -1.0}, "key 'claims.said.gain': Input should be greater than 0"),
        ({"lowr": ["a"]}, "unknown key 'claims.said.lowr'; the nearest valid key is 'claims.said.lower'"),
        ({"text": None}, "key 'claims.said.text' is missing"),
        ({"kind": None}, "key 'claims.said.kind' is missing"),
        ({"kind": "best"}, "unknown kind 'best'"),
        ({**dict.fromkeys(("higher", "lower")), **INTERACTION, "alone": ["c", "z"]}, "table4 has no row 'z'"),
    ],
)
def test_a_wrong_claim_is_one_message(load, changes, message):
    with pytest.raises(SettingsError) as caught:
        load(**changes)
    assert str(caught.value).startswith(str(caught.value).partition("claims.yaml")[0] + "claims.yaml: ")
    assert message in str(caught.value)


def test_an_interaction_is_one_contrast_of_four_rows(load):
    (claim,) = load(higher=None, lower=None, **INTERACTION)
    assert [each.label for each in claim.contrasts] == ["(f + a) - (c + e) in mAP"]


def test_only_claims_about_the_given_tables_are_loaded(experiments):
    chosen = [pair for pair in experiments if pair[0].name == "table6"]
    claims = load_claims(chosen)
    assert claims
    assert {claim.experiment.name for claim in claims} == {"table6"}
