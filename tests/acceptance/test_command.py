"""A command says the same in this process as in one of its own."""

from __future__ import annotations

import logging

from tests.acceptance.conftest import Command


def test_a_command_ends_alike_in_this_process_and_in_its_own(command: Command) -> None:
    before = logging.getLogger().handlers[:]
    for verb, word, status in (("cli", "--version", 0), ("resume", "nowhere", 2), ("train", "task=fokus", 2)):
        here, apart = command(verb, word), command(verb, word, process=True)
        assert here.status == apart.status == status, (here, apart)
        assert here == apart
    assert logging.getLogger().handlers == before
