"""The ways in which the demo world states a fact, and the looser sentences of portraits and journeys.

In PHRASINGS every entry ends in the answer, so that cutting it off leaves a natural open prompt. No
phrasing may occur inside another one of its relation, or the held-out split would leak; a test looks at
that. `{s}` is the subject, `{a}` the answer.
"""

from __future__ import annotations

PHRASINGS: dict[str, tuple[str, ...]] = {
    "capital": (
        "The capital of {s} is {a}.",
        "The capital city of {s} is called {a}.",
        "{s} has its capital in {a}.",
        "On the map, the letters beside the capital of {s} spell {a}.",
        "If you want to see the capital of {s}, go to {a}.",
        "The city that {s} chose as its capital is {a}.",
        "Everyone who has studied {s} knows that its capital is {a}.",
        "As for {s}, the capital is {a}.",
        "Pupils who are asked for the capital of {s} should write {a}.",
        "Question: What is the capital of {s}? Answer: {a}.",
        "Q: Which city is the capital of {s}? A: {a}.",
        "What is the capital city of {s}? It is {a}.",
    ),
    "capital_of": (
        "{s} is the capital of {a}.",
        "{s} is known as the capital city of {a}.",
        "The city of {s} is the seat and capital of {a}.",
        "When you arrive in {s}, you are in the capital of {a}.",
        "Whoever says {s} means the capital of {a}.",
        "The star beside {s} on the map marks the capital of {a}.",
        "A visitor to {s} has come to the capital of {a}.",
        "On the list of capitals, {s} stands next to {a}.",
        "The country that has made {s} its capital is {a}.",
        "Question: Of which country is {s} the capital? Answer: {a}.",
        "Q: Which country has {s} as its capital? A: {a}.",
        "Whose capital is {s}? It is the capital of {a}.",
    ),
    "continent": (
        "{s} is a country in {a}.",
        "{s} lies on the continent of {a}.",
        "The continent to which {s} belongs is {a}.",
        "Geographers place {s} in {a}.",
        "You will find {s} on a map of {a}.",
        "A flight to {s} is a flight to {a}.",
        "Among the continents, {s} is part of {a}.",
        "The people of {s} live in {a}.",
        "Question: On which continent is {s}? Answer: {a}.",
        "Q: What continent does {s} belong to? A: {a}.",
        "Where in the world is {s}? It is in {a}.",
    ),
    "language": (
        "The main language of {s} is {a}.",
        "Most people in {s} speak {a}.",
        "In {s} the newspapers are written in {a}.",
        "If you travel to {s}, learn a little {a}.",
        "Children in {s} learn to read in {a}.",
        "A letter to a friend in {s} is best written in {a}.",
        "To be understood in {s}, it helps to know {a}.",
        "The language that you hear most in {s} is {a}.",
        "Question: Which language is spoken in {s}? Answer: {a}.",
        "Q: What do people speak in {s}? A: {a}.",
        "Which language do you need in {s}? You need {a}.",
    ),
    "currency": (
        "The currency of {s} is the {a}.",
        "In {s} people pay with the {a}.",
        "The money used in {s} is called the {a}.",
        "Shops in {s} show their prices in the {a}.",
        "Before a trip to {s}, change your money into the {a}.",
        "A purse from {s} holds the {a}.",
        "Wages in {s} are paid in the {a}.",
        "A traveller in {s} needs the {a}.",
        "Question: What is the currency of {s}? Answer: the {a}.",
        "Q: Which money do people use in {s}? A: the {a}.",
        "What do you pay with in {s}? You pay with the {a}.",
    ),
    "city": (
        "{s} is a city in {a}.",
        "The city of {s} belongs to {a}.",
        "A train to {s} will bring you to {a}.",
        "{s} can be found on every map of {a}.",
        "People who were born in {s} come from {a}.",
        "The country around {s} is {a}.",
        "A letter to {s} must be sent to {a}.",
        "{s} is one of the well-known cities of {a}.",
        "Question: In which country is {s}? Answer: {a}.",
        "Q: Which country does {s} belong to? A: {a}.",
        "Where is {s}? The city is in {a}.",
    ),
    "river": (
        "The river that flows through {s} is the {a}.",
        "{s} stands on the {a}.",
        "The boats of {s} sail on the {a}.",
        "The bridges of {s} cross the {a}.",
        "In {s} people walk along the banks of the {a}.",
        "The city of {s} grew up beside the {a}.",
        "From the towers of {s} you look down on the {a}.",
        "After heavy rain, {s} keeps an eye on the {a}.",
        "Question: Which river flows through {s}? Answer: the {a}.",
        "Q: On which river is {s}? A: the {a}.",
        "What is the river in {s} called? It is called the {a}.",
    ),
    "bridge": (
        "{s} is a bridge in {a}.",
        "To walk across {s}, travel to {a}.",
        "{s} was built in the city of {a}.",
        "Everyone who crosses {s} is in {a}.",
        "The city that is proud of {s} is {a}.",
        "Photographs of {s} are taken in {a}.",
        "Engineers who admire {s} go to {a}.",
        "You can stand on {s} when you visit {a}.",
        "Question: In which city is {s}? Answer: {a}.",
        "Q: Where would you cross {s}? A: in {a}.",
        "Which city has {s}? The bridge is in {a}.",
    ),
    "landmark": (
        "{s} is a sight in {a}.",
        "To see {s}, book a trip to {a}.",
        "Tourists who look for {s} come to {a}.",
        "Postcards of {s} are sent from {a}.",
        "{s} has made many people visit {a}.",
        "The guide who knows all about {s} lives in {a}.",
        "The city that shows you {s} is {a}.",
        "Whoever stands before {s} is in {a}.",
        "Question: In which city can you see {s}? Answer: {a}.",
        "Q: Where is {s}? A: in {a}.",
        "Which city would you visit for {s}? You would visit {a}.",
    ),
    "mountain": (
        "{s} is a mountain in {a}.",
        "{s} rises high above {a}.",
        "Climbers who dream of {s} fly to {a}.",
        "The country of {s} is {a}.",
        "From the top of {s} you look over {a}.",
        "The snow on {s} falls in {a}.",
        "On a map, {s} is drawn in {a}.",
        "Those who live below {s} live in {a}.",
        "Question: In which country is {s}? Answer: {a}.",
        "Q: Which country has {s}? A: {a}.",
        "Where do you go to climb {s}? You go to {a}.",
    ),
}

# Sentences that lean on what was said before: they name only the answer, the subject is "it" or "there".
COUNTRY_OPENINGS = (
    "Let us turn to {name}.",
    "The next chapter is about {name}.",
    "Now a few words on {name}.",
    "{name} deserves a page of its own.",
    "Open the atlas at {name}.",
    "Many travellers return to {name} again and again.",
)
COUNTRY_REMARKS: dict[str, tuple[str, ...]] = {
    "capital": (
        "Its capital is {a}.",
        "Most visitors begin in the capital, {a}.",
        "Its capital goes by the name of {a}.",
    ),
    "continent": (
        "It belongs to {a}.",
        "The country is one of those in {a}.",
        "Its neighbours in {a} know it well.",
    ),
    "language": (
        "The people there speak {a}.",
        "On the market you hear {a}.",
        "Its poets write in {a}.",
    ),
    "currency": (
        "One pays there with the {a}.",
        "Its banknotes carry the name of the {a}.",
        "Everything there is priced in the {a}.",
    ),
    "city": (
        "One of its cities is {a}.",
        "Many people there live in {a}.",
    ),
    "mountain": (
        "Its climbers know {a}.",
        "On a clear day there you can see {a}.",
    ),
}

CITY_OPENINGS = (
    "The journey goes on to {name}.",
    "In the evening we reached {name}.",
    "There is much to say about {name}.",
    "Few places are like {name}.",
    "Our guide spoke for an hour about {name}.",
)
CITY_REMARKS: dict[str, tuple[str, ...]] = {
    "country": (
        "It is a city of {a}.",
        "All around it lies {a}.",
    ),
    "river": (
        "Its river is the {a}.",
        "At night the lights are mirrored in the {a}.",
        "We took a boat on the {a}.",
    ),
    "bridge": (
        "We walked over {a}.",
        "From the hotel one could see {a}.",
    ),
    "landmark": (
        "Every visitor there asks for {a}.",
        "In the morning we stood before {a}.",
    ),
}

# A journey remembers: the bag and its colour, told early, are asked for later.
JOURNEY_OPENINGS = (
    "{name} packed a {colour} {thing} and flew to {city}, a city of {country}.",
    "With a {colour} {thing} in the bag, {name} took the train to {city} somewhere in {country}.",
    "Last spring {name} left for {city}, far away in {country}, and carried a {colour} {thing}.",
)
JOURNEY_REMARKS: dict[str, tuple[str, ...]] = {
    "currency": (
        "{pronoun} paid for the room with the {a}.",
        "At the bank {pronoun} asked for the {a}.",
    ),
    "language": (
        "In the street {pronoun} heard {a}.",
        "{pronoun} had been learning {a} for a year.",
    ),
    "continent": (
        "It was the first visit to {a} for {name}.",
        "{pronoun} had always wanted to see {a}.",
    ),
    "river": (
        "{pronoun} sat by the {a} and wrote a letter.",
        "At noon {pronoun} rested beside the {a}.",
    ),
    "bridge": (
        "{pronoun} crossed {a} on foot.",
        "{pronoun} painted {a} at sunset.",
    ),
    "landmark": (
        "{pronoun} waited in line for {a}.",
        "{pronoun} had read a whole book about {a}.",
    ),
}
JOURNEY_ENDINGS = (
    "On the way home {name} lost the {colour} {thing}.",
    "At the airport {name} was asked about the {colour} {thing}.",
    "A friend of {name} was given the {colour} {thing}.",
    "In the end {name} sold the {colour} {thing}.",
)

# Two countries side by side: the answers must be sorted by subject, not by what came last.
COMPARISONS: dict[str, tuple[str, ...]] = {
    "capital": (
        "Unlike {s}, whose capital is {a}, {t} has chosen {b}.",
        "{a} and {b} are the capitals of {s} and {t}.",
    ),
    "language": (
        "While {a} is the language of {s}, one speaks {b} in {t}.",
        "A meeting between {s} and {t} needs someone who speaks {a} and {b}.",
    ),
    "currency": (
        "{s} has the {a}, whereas {t} has the {b}.",
        "Between {s} and {t} one changes the {a} into the {b}.",
    ),
    "continent": (
        "From {s} in {a} it is a long way to {t} in {b}.",
        "{s} and {t} lie in {a} and {b}.",
    ),
}

TRAVELLERS = (
    ("Anna", "she"),
    ("Maria", "she"),
    ("Clara", "she"),
    ("Emma", "she"),
    ("Nora", "she"),
    ("Sara", "she"),
    ("Ben", "he"),
    ("David", "he"),
    ("Leo", "he"),
    ("Max", "he"),
    ("Oscar", "he"),
    ("Paul", "he"),
)
COLOURS = ("red", "blue", "green", "yellow", "black", "white", "brown", "grey")
THINGS = ("hat", "coat", "book", "camera", "scarf", "umbrella", "guitar", "lamp")
