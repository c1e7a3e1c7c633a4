"""lm-eval tasks: theirs on our data and graders, and our own."""
