"""What is known of chance before anything is trained."""

import math
from pathlib import Path

import pytest

from sadetr.configuration import load_scale
from sadetr.errors import SettingsError
from sadetr.reporting.chance import load_chance, load_chance_settings


@pytest.fixture(scope="module")
def chance():
    return load_chance(load_scale("paper"))


def test_levels_sum_to_five_percent():
    levels = load_chance_settings().levels
    assert levels.cells + levels.tables + levels.claims == pytest.approx(0.05)


def test_table_12_is_used_where_it_prints_a_spread(chance):
    printed = {"moment_detr": (1.4, 1.4, 1.1), "qd_detr": (0.4, 1.0, 0.5), "sa_detr": (0.8, 0.8, 0.6)}
    for method, spreads in printed.items():
        found = [chance.spread("qvhighlights", method, "val", metric, 50.0) for metric in ("R1@0.5", "R1@0.7", "mAP")]
        assert tuple(found) == spreads
    on_test = chance.spread("qvhighlights", "sa_detr", "test", "mAP", 47.4)
    assert on_test == pytest.approx(0.6 * math.sqrt(1550 / 1542))


def test_the_model_gives_what_table_12_prints(chance):
    """The six standard deviations of QD-DETR and SA-DETR; they are estimates over five seeds themselves."""
    printed = {("R1@0.5", 61.94): 0.4, ("R1@0.7", 47.02): 1.0, ("mAP", 41.13): 0.5}
    printed |= {("R1@0.5", 66.02): 0.8, ("R1@0.7", 51.72): 0.8, ("mAP", 47.87): 0.6}
    ratios = [
        spread / chance.spread("qvhighlights", "uvcom", "val", metric, value)
        for (metric, value), spread in printed.items()
    ]
    assert math.sqrt(sum(ratio**2 for ratio in ratios) / len(ratios)) == pytest.approx(0.91, abs=0.02)
    moment = {("R1@0.5", 53.33): 1.4, ("R1@0.7", 34.16): 1.4, ("mAP", 31.18): 1.1}
    ratios = [
        spread / chance.spread("qvhighlights", "uvcom", "val", metric, value)
        for (metric, value), spread in moment.items()
    ]
    factor = math.sqrt(sum(ratio**2 for ratio in ratios) / len(ratios))
    assert factor == pytest.approx(load_chance_settings().methods["moment_detr"], abs=0.1)


def test_more_queries_vary_less_and_shares_vary_most_in_the_middle(chance):
    few = chance.spread("qvhighlights", "uvcom", "val", "R1@0.5", 50.0)
    many = chance.spread("tacos", "uvcom", "test", "R1@0.5", 50.0)
    assert few / many == pytest.approx(math.sqrt(4001 / 1550))
    assert chance.spread("tacos", "uvcom", "test", "R1@0.5", 10.0) < many
    assert chance.spread("tacos", "uvcom", "test", "R1@0.5", 0.0) > 0
    assert chance.spread("tacos", "moment_detr", "test", "mIoU", 25.0) == pytest.approx(
        1.8 * chance.spread("tacos", "uvcom", "test", "mIoU", 40.0)
    )


def test_correlations(chance):
    assert chance.correlation("mAP", "mAP") == 1.0
    assert chance.correlation("mAP", "R1@0.5") == chance.correlation("HD_mAP", "HIT@1") == 0.65
    assert chance.correlation("mAP", "HIT@1") == 0.3


def test_what_is_not_known_is_asked_for(chance):
    with pytest.raises(SettingsError, match="does not say how 'NDCG' varies"):
        chance.spread("tacos", "uvcom", "test", "NDCG", 50.0)
    with pytest.raises(SettingsError, match="how many queries split 'dev' of setting 'tacos' has"):
        chance.spread("tacos", "uvcom", "dev", "mIoU", 50.0)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("rescored: 0", "rescored"),
        ("widest: -1", "widest"),
        ("levels: {cells: 2, tables: 0.1, claims: 0.1}", "levels.cells"),
        ("metrics: {mAP: {disagreement: much}}", "metrics.mAP.disagreement"),
        ("unknown: 1", "unknown"),
    ],
)
def test_malformed_constants(tmp_path: Path, change: str, key: str):
    lines = Path("config/paper/tolerances.yaml").read_text(encoding="utf-8").splitlines()
    # The key is written anew, whatever stood below it.
    name, kept, inside = change.partition(":")[0], [], False
    for line in lines:
        inside = line.startswith(f"{name}:") or (inside and line.startswith((" ", "#")))
        kept += [] if inside else [line]
    (tmp_path / "tolerances.yaml").write_text("\n".join([*kept, change, ""]), encoding="utf-8")
    with pytest.raises(SettingsError, match=rf"tolerances\.yaml.*{key}"):
        load_chance_settings(tmp_path)
