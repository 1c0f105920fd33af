"""Tables in the terminal: whole at any width, in a pipe and in any encoding."""

import io
import random
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from glow_trl.stages.console import FiguresTable


def printed(table: FiguresTable, width: int = 80) -> list[str]:
    output = io.StringIO()
    Console(file=output, width=width).print(table)
    return output.getvalue().splitlines()


def words(rng: random.Random, length: int, alphabet: str) -> str:
    return re.sub(" +", " ", "".join(rng.choices(alphabet, k=length))).strip() or "x"


@pytest.mark.parametrize("seed", range(150))
def test_every_cell_stands_whole_and_in_its_row_at_80_columns(seed):
    rng = random.Random(seed)
    names, numbers = rng.randint(1, 2), rng.randint(0, 12)
    headings = [words(rng, rng.randint(1, 20), "abcdefg ") for _ in range(numbers)]
    table = FiguresTable("benchmark", *["checkpoint"] * (names - 1), numbers=headings)
    alphabet = rng.choice(["abcXYZ_/.-[]()", "abcXYZ_/.-[]() ", "漢字 ab", "[bold]/:"])
    # Each number is another, so that where one stands says which it is
    rows = []
    for number in range(rng.randint(1, 8)):
        row = [f"{number}{words(rng, rng.randint(1, 58), alphabet)}" for _ in range(names)]
        row = [(name if cell_len(name) <= 60 else name[:30]).strip() for name in row]
        row += [f"{number}.{column:02}" + "7" * rng.randint(0, 20) for column in range(numbers)]
        rows.append(row)
        table.add(*row, bold=rng.random() < 0.2)
    lines = printed(table)
    assert max(map(cell_len, lines)) <= 80
    for row in rows:
        for cell in row[:names]:
            assert any(cell in line for line in lines), cell
        for cell in row[names:]:
            (found,) = (place for place, line in enumerate(lines) if cell in line.split())
            # Beside its name, or below it
            near = lines[found - names : found + 1]
            assert any(row[names - 1] in line for line in near), (cell, near)
    for heading in headings:
        assert all(any(word in line for line in lines) for word in heading.split())


def test_what_fits_is_one_table_with_a_heading_a_column():
    table = FiguresTable("benchmark", numbers=("questions", "no answer"), title="run", caption="in percent")
    table.add("gsm8k v1 (in)", "1,319", "0.3")
    assert printed(table) == [
        "run",
        "benchmark      questions  no answer",
        "───────────────────────────────────",
        "gsm8k v1 (in)      1,319        0.3",
        "in percent",
        "",
    ]


def test_headings_are_broken_before_the_table_is():
    table = FiguresTable("benchmark", numbers=("first long heading", "second long heading"))
    table.add("b", "1", "2")
    assert printed(table, 30)[:5] == [
        "             first   second",
        "              long     long",
        "benchmark  heading  heading",
        "───────────────────────────",
        "b                1        2",
    ]


def test_a_name_wider_than_the_terminal_is_folded_and_nothing_is_left_out():
    table = FiguresTable("benchmark", numbers=("accuracy",))
    table.add("n" * 200, "12.5")
    lines = printed(table)
    assert sum(line.count("n") for line in lines[2:]) == 200 and lines[-2].split() == ["12.5"]
    assert max(map(len, lines)) <= 80


def test_control_characters_of_data_do_not_reach_the_terminal():
    table = FiguresTable("benchmark", numbers=("accuracy",))
    table.add("a\x1b[2Jb\nc\x07", "1")
    lines = printed(table)
    assert any(r"a\x1b[2Jb c\x07" in line for line in lines)
    assert all(char.isprintable() for line in lines for char in line)
