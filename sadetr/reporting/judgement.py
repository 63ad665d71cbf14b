"""Whether the paper's claims hold: in its own numbers, and in ours.

=================================  ============================================================================
holds                              our runs show every comparison of the claim
does not hold                      our runs show the opposite of one of them
undecided                          neither is shown, or there is nothing to show it on
contradicted by the paper itself   the numbers that the paper prints say otherwise; ours are not asked
missing                            a run of it is not trained or not evaluated
=================================  ============================================================================

Shown is what has p <= the given level after Holm's correction for all claims that were tested. How, and what such a
verdict does not say: docs/metrics.md, "Claims".
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sadetr.configuration import ScaleSettings
from sadetr.documents.model import ABSENT
from sadetr.errors import ResultsError
from sadetr.experiments import Row, RunId
from sadetr.reporting.claims import Claim, Contrast
from sadetr.reporting.paired import Evidence, Test, conjunction, holm, queries_p, seeds_p, spread_p
from sadetr.reporting.paper import ROUNDING, PaperTable
from sadetr.reporting.scores import Score, Scores

STALE = 1e-3
"""Scores of queries whose mean is further from the metric were not made with it: float32 is closer."""

ClaimVerdict = Literal["holds", "does not hold", "undecided", "contradicted by the paper itself", "missing"]
CLAIM_VERDICTS: tuple[ClaimVerdict, ...] = get_args(ClaimVerdict)
Printed = Literal["borne out", "open", "contradicted"]
"""What the paper's own numbers say: ``open`` where not all of them are printed, or equal ones."""
Spread = Callable[[str, str, str, str, float], float]
"""(setting, method, split, metric, value in percent) -> standard deviation of a single run, positive, in points."""


@dataclass(frozen=True)
class JudgedClaim:
    """A claim with its verdict; differences in percentage points, None where there is none.

    ``paper_difference`` is the smallest of the contrasts that the paper prints, ``ours_difference`` is of the one that
    decides. ``p`` is two-sided and of the whole claim, ``p_corrected`` for the number of claims; None where
    nothing was tested. ``test`` is "" then. ``label`` says of what data ours are where these are not the paper's.
    """

    claim: Claim
    printed: Printed
    paper_difference: float | None
    ours_difference: float | None
    test: Test | Literal[""]
    p: float | None
    p_corrected: float | None
    verdict: ClaimVerdict
    reason: str
    label: str
    unexplained: bool = False
    """Whether a contrast of ours lies further below zero than chance explains, on the paper's side and on ours: what
    the paper found was then no draw of seeds."""

    @property
    def required(self) -> bool:
        """Whether our runs must not refute it: on the paper's data, and where its own undoubted numbers bear it out."""
        return not self.label and self.printed == "borne out" and not self.claim.doubtful

    @property
    def fails(self) -> bool:
        """Whether it is required and refuted beyond chance on both sides. One that is undecided fails nothing."""
        return self.required and self.verdict == "does not hold" and self.unexplained

    @property
    def verdict_text(self) -> str:
        """The verdict with the data that it is of, and its reason."""
        verdict = f"{self.verdict} ({self.label})" if self.label and self.test else self.verdict
        return f"{verdict}: {self.reason}" if self.reason else verdict


def judge_claims(
    claims: Sequence[Claim], scale: ScaleSettings, source: Scores, spread: Spread | None, level: float
) -> tuple[JudgedClaim, ...]:
    """Judge ``claims``, and correct for the number of those that are tested.

    Args:
        claims: as :func:`sadetr.reporting.claims.load_claims` gives them.
        scale: that ours are of.
        source: our scores.
        spread: of single runs, for rows with neither scores of queries nor enough seeds; None where it is not known.
        level: chance, at most, that any claim is wrongly judged where nothing differs.

    Raises:
        SettingsError: the paper's table lacks a row.
        ResultsError: scores are unreadable, or scores of queries do not belong together.
    """
    label = "" if scale.comparable else scale.label.partition(":")[0]
    drafts = [_judge(claim, source, spread, label) for claim in claims]
    corrected = iter(holm([draft.p for draft in drafts if draft.p is not None]))
    decided = [draft if draft.p is None else _decided(draft, next(corrected), level) for draft in drafts]
    return tuple(_unexplained(decided, source, spread, level / 2))


def _unexplained(
    judged: Sequence[JudgedClaim], source: Scores, spread: Spread | None, level: float
) -> list[JudgedClaim]:
    """Mark what chance does not explain, with Bonferroni's correction over all contrasts of the required claims.

    Where the paper's difference is positive, ours lies below zero by at most what separates the two.
    """
    contrasts = sum(len(claim.claim.contrasts) for claim in judged if claim.required)
    limit = NormalDist().inv_cdf(1 - level / max(contrasts, 1))
    marked = []
    for claim in judged:
        refuted = claim.required and claim.verdict == "does not hold" and spread is not None
        ours = _Ours(claim.claim.experiment.split, source, spread)
        found = (ours.distance(each, claim.claim.table) for each in claim.claim.contrasts if refuted)
        marked.append(replace(claim, unexplained=any(distance < -limit for distance in found)))
    return marked


def _judge(claim: Claim, source: Scores, spread: Spread | None, label: str) -> JudgedClaim:
    """The claim with the verdict that it has if its p survives the correction."""
    ours = _Ours(claim.experiment.split, source, spread)
    printed, paper, decisive = _in_print(claim)

    def judged(verdict: ClaimVerdict, reason: str, difference: float | None, found: Evidence | None, p: float | None):
        test = "" if found is None else found.test
        return JudgedClaim(claim, printed, paper, difference, test, p, p, verdict, reason, label)

    if decisive is not None and printed == "contradicted":
        reason = f"{decisive.label}: {paper:+.2f}" + ("" if decisive.gain is None else f", not {decisive.gain:+.2f}")
        difference = None if ours.obstacle([decisive]) else ours.difference(decisive)
        return judged("contradicted by the paper itself", reason, difference, None, None)
    # Rows that the paper takes from elsewhere and nobody trains here count in its numbers alone.
    contrasts = [contrast for contrast in claim.contrasts if all(row.runs for row in contrast.rows)]
    if obstacle := ours.obstacle(contrasts):
        return judged(*obstacle, None, None, None)
    evidence = [found for contrast in contrasts if (found := ours.evidence(contrast)) is not None]
    if len(evidence) < len(contrasts):
        return judged("undecided", "neither scores of queries nor three seeds", None, None, None)
    joined = conjunction(evidence)
    found, contrast = evidence[joined.deciding], contrasts[joined.deciding]
    reason = f"{contrast.label}: {found.difference:+.2f}" if len(contrasts) > 1 or not joined.supported else ""
    return judged("holds" if joined.supported else "does not hold", reason, found.difference, found, joined.p)


def _decided(draft: JudgedClaim, corrected: float, level: float) -> JudgedClaim:
    judged = replace(draft, p_corrected=corrected)
    if corrected > level:
        return replace(judged, verdict="undecided")
    gain = draft.claim.contrasts[0].gain
    # The paper's gain is the difference of two single runs: one that is smaller here is said, and refutes nothing.
    if gain is not None and draft.verdict == "holds" and draft.ours_difference <= gain - 3 * ROUNDING:
        return replace(judged, verdict="undecided", reason=f"higher, but not by {gain:.2f}")
    return judged


def _in_print(claim: Claim) -> tuple[Printed, float | None, Contrast | None]:
    """What the printed numbers say, the smallest printed difference, and whose it is."""
    found = [(_printed_difference(contrast, claim.table), contrast) for contrast in claim.contrasts]
    stances = [_stance(contrast, difference) for difference, contrast in found]
    if "contradicted" in stances:
        found = [pair for pair, stance in zip(found, stances, strict=True) if stance == "contradicted"]
    printed = "contradicted" if "contradicted" in stances else "open" if "open" in stances else "borne out"
    known = [(difference, contrast) for difference, contrast in found if difference is not None]
    return printed, *min(known, key=lambda pair: pair[0], default=(None, None))


def _printed_difference(contrast: Contrast, table: PaperTable | None) -> float | None:
    if table is None:
        return None
    plus, minus = ([table.of(row, contrast.metric).value for row in side] for side in (contrast.plus, contrast.minus))
    return None if None in plus + minus else round(sum(plus) - sum(minus), 2)


def _stance(contrast: Contrast, difference: float | None) -> Printed:
    """What a printed difference says of the unrounded one."""
    if difference is None:
        return "open"
    # Differences are multiples of 0.01 in floating point.
    rounding, tiny = ROUNDING * len(contrast.rows), ROUNDING / 10
    if contrast.gain is not None:
        fits = abs(difference - contrast.gain) < rounding + ROUNDING - tiny
        return "borne out" if fits else "contradicted"
    if abs(difference) < rounding - tiny:
        return "open"
    return "borne out" if difference > 0 else "contradicted"


class _Ours:
    """Our scores of one split, as contrasts."""

    def __init__(self, split: str, source: Scores, spread: Spread | None) -> None:
        self._split, self._source, self._spread = split, source, spread

    def obstacle(self, contrasts: Sequence[Contrast]) -> tuple[ClaimVerdict, str] | None:
        """Why the contrasts cannot be tested, as a verdict with its reason; None if they can."""
        for row, metric in ((row, contrast.metric) for contrast in contrasts for row in contrast.rows):
            if not row.runs:
                return "undecided", f"{row.key}: not trained here"
            score = self._score(row, metric)
            if score.state in ("no labels", "no queries"):
                return "undecided", f"{row.key}: {score.state}"
            if not score.complete:
                seeds = f"{score.found} of {score.wanted} seeds"
                return "missing", f"{row.key}: {score.state if score.mean is None else seeds}"
        return None if contrasts else ("undecided", "no row of it is trained here")

    def difference(self, contrast: Contrast) -> float:
        """Of the means over seeds."""
        plus, minus = (sum(self._score(row, contrast.metric).mean for row in side) for side in _sides(contrast))
        return plus - minus

    def evidence(self, contrast: Contrast) -> Evidence | None:
        """The difference with the best test that there is: over queries, over seeds, with a known spread; or none."""
        difference = self.difference(contrast)
        queries = self._over_queries(contrast)
        if queries is not None:
            return Evidence(difference, "queries", queries_p(queries))
        p = seeds_p(self._over_seeds(contrast))
        if p is not None:
            return Evidence(difference, "seeds", p)
        deviation = self._deviation(contrast)
        return None if deviation is None else Evidence(difference, "spread", spread_p(difference, deviation))

    def distance(self, contrast: Contrast, table: PaperTable) -> float:
        """The difference in standard deviations of what two draws of seeds, the paper's and ours, differ by.

        Rows that are not trained here have no distance: 0.
        """
        if not all(row.runs for row in contrast.rows):
            return 0.0
        printed = {row.key: table.of(row, contrast.metric).seeds or 1 for row in contrast.rows}
        return self.difference(contrast) / self._deviation(contrast, printed)

    def _score(self, row: Row, metric: str) -> Score:
        return self._source.score(row.runs, self._split, row.checkpoint, metric)

    def _over_queries(self, contrast: Contrast) -> NDArray[np.float64] | None:
        """The contrast of every query that counts in all rows; None where a row has no scores of queries."""
        total, first = None, None
        for sign, row in ((sign, row) for sign, side in zip((1, -1), _sides(contrast), strict=True) for row in side):
            for run in row.runs:
                table = self._source.query_scores(run, row.checkpoint, self._split)
                if table is None or contrast.metric not in table.schema.names:
                    return None
                first = first or (run, table["qid"])
                self._check_queries(run, row, contrast.metric, table, first)
                part = sign * table[contrast.metric].to_numpy().astype(np.float64) / len(row.runs)
                total = part if total is None else total + part
        return total[~np.isnan(total)]

    def _check_queries(
        self, run: RunId, row: Row, metric: str, table: pa.Table, first: tuple[RunId, pa.ChunkedArray]
    ) -> None:
        remedy = "Delete the query_scores.parquet of the run and evaluate it again"
        if not table["qid"].equals(first[1]):
            raise ResultsError(
                f"{run}: its {self._split} scores are of other queries than those of {first[0]}. {remedy}"
            )
        value = self._source.seed_values([run], self._split, row.checkpoint, metric).get(run.seed, np.nan)
        scores = table[metric].drop_null().to_numpy()
        mean = scores.mean(dtype=np.float64) if len(scores) else np.nan
        # Of a run that predicts nothing both are no number, and nothing is compared.
        if abs(mean - value) > STALE:
            raise ResultsError(f"{run}: {metric} is {value:.4f}, the mean of its queries {mean:.4f}. {remedy}")

    def _over_seeds(self, contrast: Contrast) -> list[float]:
        """The contrast of every seed that all rows have."""
        plus, minus = (
            [self._source.seed_values(row.runs, self._split, row.checkpoint, contrast.metric) for row in side]
            for side in _sides(contrast)
        )
        seeds = sorted(set.intersection(*(set(values) for values in plus + minus)))
        return [sum(values[seed] for values in plus) - sum(values[seed] for values in minus) for seed in seeds]

    def _deviation(self, contrast: Contrast, printed: Mapping[str, int] | None = None) -> float | None:
        """Standard deviation of the contrast of means, if each run is drawn by itself.

        With ``printed``, the number of seeds behind each row of the paper, of its difference to the paper's contrast.
        """
        if self._spread is None:
            return None
        variance = 0.0
        for row in contrast.rows:
            score, run = self._score(row, contrast.metric), row.runs[0]
            single = self._spread(run.setting, run.method, self._split, contrast.metric, score.mean)
            variance += single**2 * (1 / score.found + (1 / printed[row.key] if printed else 0))
        return variance**0.5


def _sides(contrast: Contrast) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    return contrast.plus, contrast.minus


CLAIM_HEADER = ("claim", "section", "statement", "paper", "ours", "test", "p", "verdict")


def printed_claim(judged: JudgedClaim) -> tuple[str, ...]:
    """The claim's columns under :data:`CLAIM_HEADER`, as text; ``p`` is the corrected one."""
    p = judged.p_corrected
    shown = ABSENT if p is None else f"{p:.3f}" if p >= 0.001 else "< 0.001"
    differences = (
        ABSENT if value is None else f"{value:+.2f}" for value in (judged.paper_difference, judged.ours_difference)
    )
    where = f"{judged.claim.section}, {judged.claim.experiment.caption.partition(':')[0]}"
    return (
        judged.claim.name,
        where,
        judged.claim.text,
        *differences,
        judged.test or ABSENT,
        shown,
        judged.verdict_text,
    )
