"""Word lists of the literature's circuit tasks: common words, most of them one token where a space precedes them."""

from __future__ import annotations

FEMALE = (
    "Mary", "Anna", "Lucy", "Sarah", "Kate", "Emma", "Alice", "Rose", "Jane", "Laura", "Amy", "Ruth", "Jessica",
    "Ashley", "Jennifer", "Amanda", "Stephanie", "Nicole", "Heather", "Elizabeth", "Megan", "Melissa", "Christina",
    "Rachel", "Lauren", "Danielle", "Kimberly", "Michelle", "Tiffany", "Emily", "Rebecca", "Erin", "Kelly", "Samantha",
    "Sara", "Angela", "Andrea", "Mary", "Maria", "Julia", "Lisa", "Susan", "Karen", "Linda", "Barbara", "Helen",
    "Victoria", "Caroline", "Charlotte", "Hannah",
)  # fmt: skip
MALE = (
    "John", "Tom", "Paul", "Mark", "Dan", "James", "Jack", "Peter", "Simon", "Carl", "Adam", "Luke", "Michael",
    "Christopher", "Matthew", "Joshua", "Daniel", "David", "Robert", "Joseph", "Andrew", "Ryan", "Brandon", "Jason",
    "Justin", "William", "Jonathan", "Brian", "Nicholas", "Anthony", "Eric", "Kevin", "Steven", "Thomas", "Timothy",
    "Kyle", "Richard", "Jeffrey", "Jeremy", "Benjamin", "Aaron", "Charles", "Jacob", "Stephen", "Patrick", "Sean",
    "Nathan", "Tyler", "George", "Henry", "Edward", "Scott", "Gregory", "Kenneth", "Alexander", "Frank", "Martin",
)  # fmt: skip
NAMES = tuple(dict.fromkeys((*FEMALE, *MALE)))

# Wang et al. 2023, appendix E.
PLACES = ("store", "garden", "restaurant", "school", "hospital", "office", "house", "station")
OBJECTS = ("ring", "kiss", "bone", "basketball", "computer", "necklace", "drink", "snack")

# First names of which many are two tokens to GPT-2 and its kin: the induction task asks for the second one.
RARE_NAMES = (
    "Agatha", "Alfredo", "Amelie", "Anders", "Annika", "Anselm", "Aurelia", "Bartholomew", "Beatrix", "Benedikt",
    "Boris", "Bridget", "Camilla", "Cassandra", "Cedric", "Clementine", "Cordelia", "Dagmar", "Delilah", "Demetrius",
    "Dorothea", "Edmund", "Elodie", "Elspeth", "Ernesto", "Esmeralda", "Eugenia", "Fabian", "Felicity", "Fernando",
    "Fiona", "Florian", "Gareth", "Genevieve", "Gideon", "Giovanni", "Greta", "Gustavo", "Harriet", "Hector",
    "Henrietta", "Ignacio", "Ingrid", "Isolde", "Jasper", "Jocelyn", "Joaquin", "Katarina", "Lavinia", "Leander",
    "Leopold", "Lorenzo", "Lucinda", "Magnus", "Marcello", "Matilda", "Maximilian", "Meredith", "Minerva", "Mirabel",
    "Nadia", "Nikolai", "Octavia", "Olga", "Orlando", "Ottilie", "Pascal", "Penelope", "Philippa", "Quentin",
    "Rafaela", "Ramona", "Reginald", "Roderick", "Rosalind", "Rowena", "Sabrina", "Salvatore", "Sebastian", "Sigrid",
    "Silvia", "Tabitha", "Tatiana", "Theodora", "Thaddeus", "Tobias", "Ursula", "Valentina", "Vincenzo", "Wilhelm",
    "Winifred", "Xavier", "Yolanda", "Yvette", "Zacharias", "Zelda",
)  # fmt: skip

# Things that last (Hanna et al. 2023, section 2).
EVENTS = (
    "agreement", "alliance", "attack", "battle", "boom", "campaign", "case", "challenge", "conflict", "contract",
    "crisis", "custody", "deal", "decline", "development", "dispute", "dynasty", "effort", "empire", "engagement",
    "epidemic", "expansion", "expedition", "exploration", "friendship", "growth", "illness", "impact", "imprisonment",
    "improvement", "insurgency", "invasion", "investigation", "journey", "kingdom", "marriage", "negotiation",
    "occupation", "operation", "peace", "plague", "pilgrimage", "project", "protest", "raid", "reform", "reign",
    "relationship", "renaissance", "research", "residency", "revolution", "siege", "struggle", "study", "treaty",
    "trial", "truce", "voyage", "war",
)  # fmt: skip

# Argument names and words of docstrings (Heimersheim & Janiak 2023).
ARGUMENTS = (
    "data", "name", "file", "value", "test", "result", "line", "user", "key", "default", "request", "path", "output",
    "node", "item", "model", "response", "text", "version", "function", "string", "field", "start", "number", "values",
    "index", "error", "current", "context", "image", "message", "check", "create", "size", "event", "state", "row",
    "end", "files", "form", "query", "fields", "label", "action", "target", "array", "code", "table", "source",
    "config", "first", "options", "update", "module", "status", "group", "content", "client", "last", "read", "command",
    "base", "format", "color", "settings", "order", "count", "match", "title", "parent", "session", "server", "host",
    "date", "mode", "load", "shape", "time",
)  # fmt: skip
NOUNS = (
    "price", "control", "action", "cost", "issue", "process", "position", "course", "minute", "education", "type",
    "research", "subject", "programme", "girl", "moment", "age", "father", "force", "act", "house", "street", "oil",
    "column", "piece", "crime", "population", "unit", "court", "letter", "garden", "window", "paper", "market",
    "music", "church", "river", "summer", "winter", "animal", "chair", "engine", "island", "forest", "bridge", "stone",
    "metal", "glass", "picture", "story", "game", "plan", "hand", "ground", "friend", "office", "teacher", "doctor",
)  # fmt: skip
FUNCTIONS = ("port", "find", "build", "make", "add", "move", "call", "open", "close", "send", "fetch", "scan")
