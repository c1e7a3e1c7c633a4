"""Word lists of the tiny world: first names, things, places and invented proper nouns."""

from __future__ import annotations

FEMALE = ("Mary", "Anna", "Lucy", "Sara", "Kate", "Emma", "Alice", "Rose", "Jane", "Laura", "Amy", "Ruth")
MALE = ("John", "Tom", "Paul", "Mark", "Dan", "James", "Jack", "Peter", "Simon", "Carl", "Adam", "Luke")
NAMES = FEMALE + MALE

ITEMS = ("apples", "books", "coins", "eggs", "shells", "cards", "pens", "stones", "cups", "nuts")
CONTAINERS = ("boxes", "bags", "jars", "trays")

PLACES = ("store", "garden", "station", "hospital", "office", "school", "house", "restaurant")
OBJECTS = ("ring", "kiss", "bone", "basketball", "computer", "necklace", "drink", "snack")

JOBS = ("doctor", "teacher", "baker", "lawyer", "painter", "farmer", "singer", "driver")
EVENT_NOUNS = ("war", "siege", "reign", "voyage", "trial", "strike", "famine", "project")

# (singular, plural): subjects and distractors of the agreement sentences.
AGREEMENT_NOUNS = (
    ("key", "keys"),
    ("boy", "boys"),
    ("farmer", "farmers"),
    ("dog", "dogs"),
    ("author", "authors"),
    ("pilot", "pilots"),
    ("girl", "girls"),
    ("painter", "painters"),
    ("guard", "guards"),
    ("clerk", "clerks"),
)
# (singular, plural) of the verb that has to agree.
AGREEMENT_VERBS = (("is", "are"), ("was", "were"), ("has", "have"))

PARAMETERS = ("size", "name", "file", "path", "load", "count", "shape", "line", "node", "time", "user", "code")
DOC_WORDS = ("first", "second", "old", "new", "main", "last", "next", "free", "total", "local", "given", "extra")
INDUCTION_WORDS = (*OBJECTS, *JOBS, *PARAMETERS, *PLACES)
