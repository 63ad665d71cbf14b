"""Two lengths of a clip, that of the features and that of the labels: when one divides the other. Free of imports."""

DIVISION_TOLERANCE = 5e-4
"""Share by which a whole number of feature clips may miss a label clip: 1/6 s is written as 0.166666."""


def clips_per_label(label_clip_length: float, clip_length: float) -> int | None:
    """How many feature clips of ``clip_length`` seconds a label clip holds; None where it is no whole number."""
    clips = round(label_clip_length / clip_length)
    exact = clips > 0 and abs(clips * clip_length / label_clip_length - 1) <= DIVISION_TOLERANCE
    return clips if exact else None


def misfit(label_clip_length: float, clip_length: float) -> str:
    """What to say, and advise, where labels cannot be converted exactly."""
    clips = max(1, round(label_clip_length / clip_length))
    return (
        f"clip_length {clip_length:g} s (features) does not divide label_clip_length {label_clip_length:g} s "
        "(relevant_clip_ids), so that labels would have to be mixed; use features of "
        f"{label_clip_length / clips:.6g} s per clip, or do without labels of clips: saliency: window and highlights: "
        "false in the setting"
    )
