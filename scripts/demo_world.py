"""The demo world told as text: true facts in varied sentences and long passages, and prompts to ask for them.

Every fact (relation, subject, answer) is told in all phrasings of its relation but a few that are held out
for this very fact. A held-out (fact, phrasing) pair never occurs in training text, though the fact does (in
other phrasings) and the phrasing does (about other subjects). Everything follows from integer seeds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from demo_facts import COUNTRIES, facts_by_relation
from demo_phrasings import (
    CITY_OPENINGS,
    CITY_REMARKS,
    COLOURS,
    COMPARISONS,
    COUNTRY_OPENINGS,
    COUNTRY_REMARKS,
    JOURNEY_ENDINGS,
    JOURNEY_OPENINGS,
    JOURNEY_REMARKS,
    PHRASINGS,
    THINGS,
    TRAVELLERS,
)

HELD_OUT_PER_FACT = 2


@dataclass(frozen=True)
class Fact:
    """Something true: what ``relation`` says about ``subject`` is ``answer``."""

    relation: str
    subject: str
    answer: str


@dataclass(frozen=True)
class Prompt:
    """An unfinished text and the words that finish it. ``text + " " + answer`` is how it goes on."""

    text: str
    answer: str
    relation: str


FACTS = tuple(
    Fact(relation, subject, answer)
    for relation, pairs in facts_by_relation().items()
    for subject, answer in pairs
)


def _capitalised(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


def tell(fact: Fact, phrasing: str) -> str:
    """The whole sentence."""
    return _capitalised(phrasing.format(s=fact.subject, a=fact.answer))


def ask(fact: Fact, phrasing: str) -> Prompt:
    """The sentence up to, and without, the space before its answer."""
    opening = phrasing[: phrasing.rindex(" {a}")].format(s=fact.subject)
    return Prompt(_capitalised(opening), fact.answer, fact.relation)


def _split() -> tuple[Mapping[Fact, tuple[str, ...]], Mapping[Fact, tuple[str, ...]]]:
    """The phrasings of each fact that are told, and those that are held out."""
    told, held_out = {}, {}
    for fact in FACTS:
        phrasings = list(PHRASINGS[fact.relation])
        Random(f"held out: {fact.relation} {fact.subject}").shuffle(phrasings)
        held_out[fact] = tuple(phrasings[:HELD_OUT_PER_FACT])
        told[fact] = tuple(phrasings[HELD_OUT_PER_FACT:])
    return told, held_out


TOLD, HELD_OUT = _split()


def held_out_prompts() -> tuple[tuple[Fact, str], ...]:
    """Every held-out (fact, phrasing) pair."""
    return tuple((fact, phrasing) for fact in FACTS for phrasing in HELD_OUT[fact])


def _by_subject(relation: str) -> Mapping[str, tuple[str, ...]]:
    answers = defaultdict(list)
    for fact in FACTS:
        if fact.relation == relation:
            answers[fact.subject].append(fact.answer)
    return {subject: tuple(found) for subject, found in answers.items()}


def _by_answer(relation: str) -> Mapping[str, tuple[str, ...]]:
    subjects = defaultdict(list)
    for fact in FACTS:
        if fact.relation == relation:
            subjects[fact.answer].append(fact.subject)
    return {answer: tuple(found) for answer, found in subjects.items()}


# What can be remarked about a country or a city: relation -> name -> possible answers.
_COUNTRY_LORE = {
    relation: _by_subject(relation) for relation in ("capital", "continent", "language", "currency")
} | {relation: _by_answer(relation) for relation in ("city", "mountain")}
_CITY_LORE = {
    "country": _by_subject("city") | _by_subject("capital_of"),
    "river": _by_subject("river"),
    "bridge": _by_answer("bridge"),
    "landmark": _by_answer("landmark"),
}
_NOTED_CITIES = sorted(
    {name for relation in ("river", "bridge", "landmark") for name in _CITY_LORE[relation]}
)
_DESTINATIONS = sorted(_CITY_LORE["country"])


def _remarks(
    rng: Random,
    about: str,
    lore: Mapping[str, Mapping[str, tuple[str, ...]]],
    remarks: Mapping[str, tuple[str, ...]],
    **words: str,
) -> list[str]:
    """One remark for every relation of which something is known, in random order."""
    known = [relation for relation in remarks if about in lore[relation]]
    rng.shuffle(known)
    return [_capitalised(rng.choice(remarks[r]).format(a=rng.choice(lore[r][about]), **words)) for r in known]


def _list_of_facts(rng: Random) -> list[str]:
    """Unrelated facts, one after the other."""
    facts = rng.choices(FACTS, k=rng.randint(3, 8))
    return [tell(fact, rng.choice(TOLD[fact])) for fact in facts]


def _country_portrait(rng: Random) -> list[str]:
    """One country, named once and then only pointed at."""
    name = rng.choice(COUNTRIES).name
    opening = rng.choice(COUNTRY_OPENINGS).format(name=name)
    return [opening, *_remarks(rng, name, _COUNTRY_LORE, COUNTRY_REMARKS)]


def _city_portrait(rng: Random) -> list[str]:
    """One city, named once and then only pointed at."""
    name = rng.choice(_NOTED_CITIES)
    opening = rng.choice(CITY_OPENINGS).format(name=name)
    return [opening, *_remarks(rng, name, _CITY_LORE, CITY_REMARKS)]


def _journey(rng: Random) -> list[str]:
    """Somebody travels; who, where and with what must be kept in mind until the end."""
    city = rng.choice(_DESTINATIONS)
    country = _CITY_LORE["country"][city][0]
    name, pronoun = rng.choice(TRAVELLERS)
    told = {"name": name, "colour": rng.choice(COLOURS), "thing": rng.choice(THINGS)}
    words = {"name": name, "pronoun": pronoun}
    remarks = _remarks(
        rng,
        country,
        _COUNTRY_LORE,
        {r: JOURNEY_REMARKS[r] for r in ("currency", "language", "continent")},
        **words,
    ) + _remarks(
        rng,
        city,
        _CITY_LORE,
        {r: JOURNEY_REMARKS[r] for r in ("river", "bridge", "landmark")},
        **words,
    )
    rng.shuffle(remarks)
    opening = rng.choice(JOURNEY_OPENINGS).format(city=city, country=country, **told)
    return [opening, *remarks, rng.choice(JOURNEY_ENDINGS).format(**told)]


def _comparison(rng: Random) -> list[str]:
    """Two countries in one sentence, a few times over."""
    relation = rng.choice(sorted(COMPARISONS))
    known = sorted(_COUNTRY_LORE[relation])
    sentences = []
    for _ in range(rng.randint(2, 4)):
        s, t = rng.sample(known, 2)
        (a,), (b,) = _COUNTRY_LORE[relation][s], _COUNTRY_LORE[relation][t]
        sentences.append(rng.choice(COMPARISONS[relation]).format(s=s, t=t, a=a, b=b))
    return sentences


_PARAGRAPHS: tuple[tuple[Callable[[Random], list[str]], int], ...] = (
    (_list_of_facts, 7),
    (_country_portrait, 2),
    (_city_portrait, 1),
    (_journey, 2),
    (_comparison, 1),
)


def paragraph(rng: Random) -> str:
    """A few sentences of one kind."""
    kinds, weights = zip(*_PARAGRAPHS, strict=True)
    (kind,) = rng.choices(kinds, weights)
    return " ".join(kind(rng))


def passage(rng: Random, long_enough: Callable[[str], bool], without: str = "") -> str:
    """Paragraphs, one a line, until ``long_enough`` says so; none of them mentions ``without``."""
    text = ""
    while not long_enough(text):
        addition = paragraph(rng)
        if not without or without not in addition:
            text += addition + "\n"
    return text


def prompt_in_passage(rng: Random, fact: Fact, phrasing: str, long_enough: Callable[[str], bool]) -> Prompt:
    """The open prompt after a passage that says nothing about the fact's subject."""
    question = ask(fact, phrasing)
    before = passage(rng, lambda text: long_enough(text + question.text), without=fact.subject)
    return Prompt(before + question.text, fact.answer, fact.relation)
