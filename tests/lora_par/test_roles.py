"""What teachers are asked, and how their answers are read."""

import pytest

from harness.lora_par.roles import prompt_of, read


def test_the_prompt_is_the_papers_with_and_without_role_play():
    """The sentences of the paper's figure, word by word."""
    with_role = prompt_of("How many?", "3", "LLaMA2 7B")
    assert with_role.startswith(
        "Act as LLaMA2 7B — concise, efficient, and reasoning step by step like it would. Given a task or question and "
        "its answer, decide whether it belongs to 'System1' or 'System2' based on the following criteria: 1. System1 "
        "tasks rely on immediate recall,"
    )
    plain = prompt_of("How many?", "3", None)
    assert plain.startswith("Given a task or question and its answer,")
    assert with_role.endswith(plain[len("Given") :])
    assert "How many?" in plain
    assert "\nAnswer:\n3\n" in plain


@pytest.mark.parametrize(
    ("text", "system"),
    [
        ("System1", "system1"),
        ("'System2'", "system2"),
        ("It belongs to SYSTEM 2.", "system2"),
        ("system-1", "system1"),
        ("<think>Is it System2? It may be System2.</think>\nSystem1", "system1"),
        ("System1 tasks need recall.\nThis needs a chain.\n**System 2**", "system2"),
        ("Either System1 or System2", None),
        ("<think>It may be System2", None),
        ("System1\nEither System1 or System2", None),
        ("I do not know", None),
        ("System3", None),
        ("System12", None),
        ("ecosystem1", None),
        ("", None),
    ],
)
def test_an_answer_is_read(text, system):
    assert read(text) == system
