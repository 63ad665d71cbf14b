"""Sentences that describe a combination of attributes."""

from typing import NamedTuple

import numpy as np

from sadetr.data.corpus.timeline import Timeline, differences
from sadetr.data.corpus.vocabulary import (
    ACTION,
    ATTRIBUTES,
    OBJECT,
    OBJECTS,
    PEOPLE,
    PLACE,
    PLACES,
    VERBS,
    WHO,
    Attributes,
    Verb,
)

TEMPLATES = (
    "{who} {present} {object} {place}",
    "{who} is {gerund} {object} {place}",
    "{place,} {who} {present} {object}",
    "{place,} {object} is being {participle} by {who}",
    "{object} is {participle} by {who} {place}",
    "we see {who} {gerund} {object} {place}",
    "there is {who} {place} who {present} {object}",
    "look how {who} {present} {object} {place}",
)
NEUTRAL_VERB = Verb("uses", "using", "used")
START, END = "<start>", "<end>"
ARTICLES = ("a", "an", "the")

FUNCTION_WORDS = tuple(
    sorted(
        {word for template in TEMPLATES for word in template.split() if not word.startswith("{")}
        | {START, END, ",", ".", "in", "someone", "something", *ARTICLES, *NEUTRAL_VERB}
    )
)
"""Everything that says nothing about an attribute, the start and end token included."""


class Token(NamedTuple):
    """A word and, where it names an attribute's value, which (else None)."""

    word: str
    meaning: tuple[int, int] | None = None


def omissible(timeline: Timeline, attributes: Attributes) -> list[int]:
    """Indices of the attributes without which a sentence still fits no other event of the video."""
    others = {event.attributes for event in timeline.events} - {attributes}
    return [index for index in range(len(ATTRIBUTES)) if all(differences(attributes, o) != [index] for o in others)]


def compose(rng: np.random.Generator, attributes: Attributes, omitted: int | None) -> list[Token]:
    """The tokens of a random sentence about ``attributes``, leaving out the one with index ``omitted``."""
    template = TEMPLATES[rng.integers(len(TEMPLATES))]
    tokens = [Token(START)]
    for part in template.split():
        tokens += _expand(rng, part, attributes, omitted) if part.startswith("{") else [Token(part)]
    if rng.random() < 0.5:
        tokens.append(Token("."))
    return [*tokens, Token(END)]


def spell(tokens: list[Token]) -> str:
    """The sentence as an annotator would have typed it."""
    text = " ".join(token.word for token in tokens[1:-1]).replace(" ,", ",").replace(" .", ".")
    return text[0].upper() + text[1:]


def make_untidy(rng: np.random.Generator, text: str) -> str:
    """The sentence with one of the slips that annotations are full of."""
    slip = rng.integers(3)
    if slip == 0:
        return f" {text}"
    words = text.split(" ")
    chosen = int(rng.integers(1, len(words)))
    if slip == 1:
        return " ".join([*words[:chosen], "", *words[chosen:]])
    # The second letter is doubled: "kiitchen".
    words[chosen] = words[chosen][:2] + words[chosen][1:]
    return " ".join(words)


def _expand(rng: np.random.Generator, slot: str, attributes: Attributes, omitted: int | None) -> list[Token]:
    name = slot.strip("{},")
    if name in Verb._fields:
        if omitted == ACTION:
            return [Token(getattr(NEUTRAL_VERB, name))]
        value = attributes[ACTION]
        return [Token(getattr(VERBS[value], name), (ACTION, value))]
    if name == "place":
        comma = [Token(",")] if slot.endswith(",}") else []
        return [] if omitted == PLACE else [Token("in"), *_noun("the", PLACES, PLACE, attributes), *comma]
    index, words, pronoun = (WHO, PEOPLE, "someone") if name == "who" else (OBJECT, OBJECTS, "something")
    return [Token(pronoun)] if omitted == index else _noun(("a", "the")[rng.integers(2)], words, index, attributes)


def _noun(article: str, words: tuple[str, ...], index: int, attributes: Attributes) -> list[Token]:
    value = attributes[index]
    if article == "a" and words[value][0] in "aeiou":
        article = "an"
    return [Token(article), Token(words[value], (index, value))]
