"""A second implementation of the quickstart's task, from its description alone; it shares no code with the package."""

import re


def parse(problem: str) -> tuple[dict[str, str], str]:
    """Lines of a question by letter, as `=3` or `+4`, and the letter that is asked for."""
    for word, sign in ((" plus ", "+"), (" minus ", "-"), (" times ", "*")):
        problem = problem.replace(word, sign)
    *lines, asked = problem.split("; ")
    assert re.fullmatch(r"[a-z]=\?", asked), asked
    assert all(re.fullmatch(r"[a-z][-+*=][0-6]", line) for line in lines), lines
    definitions = {line[0]: line[1:] for line in lines}
    assert len(definitions) == len(lines)
    return definitions, asked[0]


def evaluate(problem: str) -> int:
    """Answer by walking back from the asked letter to the given value, then forward in plain integers."""
    definitions, letter = parse(problem)
    path = []
    while not definitions[letter].startswith("="):
        path.append(definitions[letter])
        letter = chr(ord(letter) - 1)
    expression = definitions[letter][1:]
    for link in reversed(path):
        expression = f"({expression}{link})"
    return eval(expression) % 7


def steps_needed(problem: str) -> int:
    definitions, asked = parse(problem)
    given = next(letter for letter, line in definitions.items() if line.startswith("="))
    return ord(asked) - ord(given)


def read_solution(completion: str) -> tuple[list[tuple[str, int, str, int, int]], int]:
    """Lines of a solution as (letter, left, operator, right, result), and its final answer."""
    *lines, final = completion.split("; ")
    steps = []
    for line in lines:
        match = re.fullmatch(r"([a-z]): ([0-6])([-+*])([0-6])=([0-6])", line)
        assert match, line
        letter, left, operator, right, result = match.groups()
        steps.append((letter, int(left), operator, int(right), int(result)))
    match = re.fullmatch(r"\\boxed\{([0-6])\}", final)
    assert match, final
    return steps, int(match.group(1))


def step_is_valid(problem: str, steps: list[tuple[str, int, str, int, int]], index: int) -> bool:
    """Whether a line follows from the question and the line before it, right or wrong as that may be."""
    definitions, _ = parse(problem)
    letter, left, operator, right, result = steps[index]
    given = next(name for name, line in definitions.items() if line.startswith("="))
    if index == 0:
        before, value = given, int(definitions[given][1:])
    else:
        before, value = steps[index - 1][0], steps[index - 1][4]
    return (
        ord(letter) == ord(before) + 1
        and left == value
        and definitions[letter] == f"{operator}{right}"
        and eval(f"{left}{operator}{right}") % 7 == result
    )
