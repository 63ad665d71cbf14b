"""The attributes of an event and the words for their values."""

from typing import NamedTuple

ATTRIBUTES = ("who", "action", "object", "place")
WHO, ACTION, OBJECT, PLACE = range(len(ATTRIBUTES))

Attributes = tuple[int, ...]
"""One value index per attribute, in the order of ``ATTRIBUTES``."""


class Verb(NamedTuple):
    """The three forms that the sentence templates need."""

    present: str
    gerund: str
    participle: str


PEOPLE = (
    *("chef", "dancer", "farmer", "nurse", "painter", "teacher"),
    *("sailor", "tourist", "child", "actor", "musician", "reporter"),
)
VERBS = (
    Verb("carries", "carrying", "carried"),
    Verb("cleans", "cleaning", "cleaned"),
    Verb("repairs", "repairing", "repaired"),
    Verb("photographs", "photographing", "photographed"),
    Verb("inspects", "inspecting", "inspected"),
    Verb("wraps", "wrapping", "wrapped"),
    Verb("lifts", "lifting", "lifted"),
    Verb("decorates", "decorating", "decorated"),
    Verb("measures", "measuring", "measured"),
    Verb("hides", "hiding", "hidden"),
    Verb("sells", "selling", "sold"),
    Verb("drops", "dropping", "dropped"),
)
OBJECTS = (
    *("bicycle", "guitar", "suitcase", "lamp", "basket", "camera"),
    *("ladder", "umbrella", "drum", "telescope", "carpet", "kettle"),
)
PLACES = (
    *("kitchen", "garden", "garage", "library", "market", "station"),
    *("classroom", "harbour", "attic", "courtyard", "workshop", "hallway"),
)


def is_held_out(attributes: Attributes, values: int) -> bool:
    """Whether this combination is kept out of every training video, so that evaluation cannot be memorised.

    One in ``values`` combinations is held out. Any three attributes still occur together in training, and changing
    one attribute of a held-out combination always gives one that is not.
    """
    return sum(attributes) % values == 0
