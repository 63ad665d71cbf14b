"""The page and its style sheet and script, as they are sent."""

from sadetr.documents.templates import environment
from sadetr.serving.containers import KNOWN
from sadetr.serving.limits import SENTENCE, Limits, shown_size, shown_time


def assets(network: str, label: str, limits: Limits) -> dict[str, tuple[str, str]]:
    """Path -> content and media type.

    Args:
        network: where the weights come from.
        label: what the scale says on its results; may be empty.
        limits: told to visitors before they meet them.
    """
    shown = {
        "network": network,
        "label": label,
        "formats": KNOWN,
        "size": shown_size(limits.upload),
        "bytes": limits.upload,
        "duration": shown_time(limits.duration),
        "characters": SENTENCE,
    }
    templates = environment("html")
    return {
        "/": (templates.get_template("serve.j2").render(shown), "text/html"),
        "/serve.css": (templates.get_template("serve.css").render(), "text/css"),
        "/serve.js": (templates.get_template("serve.js").render(), "text/javascript"),
    }
