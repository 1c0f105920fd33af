"""An answer that only restates the question earns nothing; one that is right stays so."""

import pytest

from glow_trl.data import read_jsonl
from glow_trl.errors import UserError
from glow_trl.rewards import accuracy_reward
from glow_trl.verifiers import VerifierPool, verify, verify_batch
from glow_trl.verifiers.restated import MODES, restates, without_copies


# Copies: (question, what is copied, gold answer)
COPIES = [
    (r"Compute $7^2 + 24^2$.", r"7^2+24^2", "625"),
    (r"Compute $\dfrac{3}{4} \cdot \left(8 + 4\right)$.", r"\frac34\cdot(8+4)", "9"),
    (r"Evaluate \[\int_0^2 3x^2\,dx.\]", r"\int_0^2 3x^2 dx", "8"),
    (r"Find $\sum_{k=1}^{4} k^2$.", r"\sum_{k=1}^4 k^2", "30"),
    (r"What is $\gcd(84, 36)$?", r"\gcd(84,36)", "12"),
    (r"Find $\begin{vmatrix} 1 & 2 \\ 3 & 4 \end{vmatrix}$.", r"\begin{vmatrix}1&2\\3&4\end{vmatrix}", "-2"),
    (r"Compute \( \binom{9}{2} \) and nothing else.", r"\dbinom{9}{2}", "36"),
    (r"What is $6!$ divided by nothing?", "6!", "720"),
    (r"Simplify $\sqrt{72}$ as far as $\sqrt{2}$ allows.", r"\sqrt{72}", r"6\sqrt{2}"),
    (r"Expand $3(x + 7)$ for $x > 1$.", "3(x+7)", "3x + 21"),
    (r"Factor $4z^2 - 9$, please, over $\mathbb{Z}$.", "4z^2-9", "(2z-3)(2z+3)"),
    (r"Write $4213_5$ in base $10$.", "4213_5", "558"),
    (r"Write $2.\overline{6}$ as a fraction in lowest terms $a/b$.", r"2.\overline{6}", r"\frac{8}{3}"),
    (r"Write $\frac{7}{8}$ as a decimal.", r"\frac78", "0.875"),
    (r"Solve $x^2 - 3x < 4$.", "x^2-3x<4", "(-1, 4)"),
    (r"If $b - a = 2$ and $a = 0$, what is $b$?", "b - a = 2", "2"),
    (r"Let $a_1 = 3$ and $a_2 = 5$; what is the largest common divisor of $a_2$ and $10$?", "a_2 = 5", "5"),
    ("What is 17*3 + 4 (no calculator)?", "17*3+4", "55"),
    # However the question and the answer write it
    ("What is 17*3 (no calculator)?", r"17 \cdot 3", "51"),
    ("What is 17 × 3 − 4?", r"17 \times 3 - 4", "47"),
    ("Add 9² and 4².", "9^2", "81"),
    ("What is √361?", r"\sqrt{361}", "19"),
    (r"Compute \begin{align*}9^2 + 4^2.\end{align*}", "9^{2}+4^{2}", "97"),
    (r"Find $\prod_{k=2}^{5} (k - 1)$.", r"\prod_{k=2}^5 (k-1)", "24"),
]
# Lightly edited copies, which `strict` finds too
EDITED = [
    (r"Compute $7^2 + 24^2$.", "24^2 + 7^2", "625"),
    (r"Compute $7^2 + 24^2$.", "x = 24^2 + 7^2", "625"),
    (r"Compute $7^2 + 24^2$.", "7^2 + 24^2 + 0", "625"),
    (r"Compute $7^2 + 24^2$.", r"1 \cdot (7^2 + 24^2)", "625"),
    (r"Compute $7^2 + 24^2$.", r"7^2 + 24^2 + 5 - 5", "625"),
    (r"Compute $7^2 + 24^2$.", r"\frac{2 (7^2 + 24^2)}{2}", "625"),
    (r"Compute $7^2 - 24^2$.", r"-(24^2 - 7^2)", "-527"),
    ("What is 17*3 + 4 (no calculator)?", "4 + 3*17", "55"),
    (r"Evaluate $\int_0^2 3x^2\,dx$.", r"\int_0^2 3t^2 dt", "8"),
    (r"Find $\sum_{k=1}^{4} k^2$.", r"\sum_{n=1}^4 n^2", "30"),
    (r"Find $\sin 30^\circ + 2$.", r"2 + \sin 30^\circ", r"\frac52"),
    (r"Is $0.75$ or $\frac{2}{3}$ larger? Give a fraction.", "0.75", r"\frac34"),
]
# Right answers: they have the form of the gold answer, or are evaluated and stand in the question for another reason
RIGHT = [
    (r"How many $3$-digit squares are palindromes?", "3", "3"),
    (r"Which is larger, $2^{10}$ or $10^3$?", "2^{10}", "2^{10}"),
    (r"A side of $\sqrt{2}$ and one of $12\sqrt{2}$; find the third.", r"12 \sqrt2", r"12\sqrt{2}"),
    (r"Half of the time $t = 0.5$ of $8$ hours passed. What share is left?", "0.5", r"\frac12"),
    (r"Let $y = x + 1$ and $z = y$. Express $z$ by $x$.", "x+1", "1 + x"),
    (r"The area is $\pi r^2$ with $r = 3$; what is it?", r"9\pi", r"9 \pi"),
    (r"Compute $7^2 + 24^2$.", "625", "625"),
    (r"Compute $7^2 + 24^2$.", "7^2 + 24^2 = 625", "625"),
    (r"Compute $7^2 + 24^2$.", r"49 + 576", "625"),
    (r"Is $x = 2$ or $x = 3$ a root of $x^2 - 9$?", "x = 3", "3"),
    (r"For which $x > 0$ is $x^3 > 0$?", "x > 0", r"(0, \infty)"),
    (r"What is $\binom{8}{3}$ as a product of binomials?", r"\binom{8}{3}", r"\binom{8}{3}"),
]


@pytest.mark.parametrize(("problem", "copy", "gold"), COPIES)
def test_a_copy_of_the_question_is_found(problem, copy, gold):
    assert restates(copy, problem, gold) and restates(copy, problem, gold, strict=True)


@pytest.mark.parametrize(("problem", "copy", "gold"), EDITED)
def test_an_edited_copy_is_found_in_strict_mode(problem, copy, gold):
    assert restates(copy, problem, gold, strict=True)


@pytest.mark.parametrize(("problem", "answer", "gold"), RIGHT)
def test_what_answers_the_question_is_no_copy(problem, answer, gold):
    assert not restates(answer, problem, gold)


@pytest.mark.parametrize(("problem", "answer", "gold"), [*COPIES, *EDITED, *RIGHT])
def test_a_gold_answer_never_restates(problem, answer, gold):
    assert not any(restates(gold, problem, gold, strict) for strict in (False, True))


def test_the_verdict_says_restated_and_the_mode_decides():
    problem, copy, edited = "Compute $7^2 + 24^2$.", r"\boxed{7^2 + 24^2}", r"\boxed{24^2 + 7^2}"
    verdict = verify(copy, "625", problem=problem)
    assert (verdict.correct, verdict.reason, verdict.extracted) == (False, "restated", "7^2 + 24^2")
    assert verdict.judged
    assert verify(copy, "625").correct and verify(copy, "625", problem=problem, restated="accept").correct
    assert verify(edited, "625", problem=problem).correct
    batch = {
        mode: [
            v.correct for v in verify_batch([copy, edited, "625"], ["625"] * 3, problems=[problem] * 3, restated=mode)
        ]
        for mode in MODES
    }
    assert batch == {
        "accept": [True, True, True],
        "reject": [False, True, True],
        "strict": [False, False, True],
    }
    with pytest.raises(UserError, match="restated is 'no'"):
        verify(copy, "625", problem=problem, restated="no")


def test_only_mathematics_is_copied():
    """A choice or a word of the question is an answer."""
    assert verify("The answer is yes", "yes", "text", problem="Is it so: yes or no?", restated="strict").correct
    assert verify("(B)", "B", "choice", problem="(A) 1 (B) 2", restated="strict").correct
    assert not verify(r"\boxed{2+3}", "5", "number", problem="What is $2+3$?").correct


def test_the_reward_reads_prompts_in_both_forms():
    problem, completion = r"Compute $7^2 + 24^2$. Put the answer in \boxed{}.", r"\boxed{7^2+24^2}"
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": problem}]
    columns, metrics = {}, {}
    rewards = accuracy_reward(
        prompts=[problem, chat, [{"role": "user", "content": "What is 25 squared?"}]],
        completions=[completion] * 3,
        answer=["625"] * 3,
        log_extra=columns.__setitem__,
        log_metric=metrics.__setitem__,
    )
    assert rewards == [0.0, 0.0, 1.0]
    assert columns["accuracy/reason"] == ["restated", "restated", "match"]
    assert metrics["accuracy/restated"] == pytest.approx(2 / 3)
    assert accuracy_reward(prompts=[chat], completions=[completion], answer=["625"], restated="accept") == [1.0]
    # A column with the question is nearer to it than the prompt
    assert accuracy_reward(prompts=["?"], completions=[completion], answer=["625"], problem=[problem]) == [0.0]
    # and may have gaps, as in a data frame
    assert accuracy_reward([completion] * 2, ["625"] * 2, prompts=[problem, "?"], problem=[float("nan"), None]) == [
        0,
        1,
    ]
    assert accuracy_reward([completion], ["625"], problem=[float("nan")]) == [1.0]
    parts = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": problem}]}]
    assert accuracy_reward([completion], ["625"], prompts=[parts]) == [0.0]


@pytest.mark.parametrize("strict", [False, True])
def test_no_real_answer_is_a_copy(strict, shared_data):
    """Gold answers and right answers of models to real problems."""
    mode = "strict" if strict else "reject"
    for name, column in (
        ("qa_math500", "answer"),
        ("qa_olympiadbench_math_en", "answer"),
        ("traj_math100_qwen_n8", "gold"),
    ):
        rows = [row for _, row in read_jsonl(shared_data / f"{name}.jsonl")]
        texts = [row.get("completion") or rf"\boxed{{{row[column]}}}" for row in rows]
        with VerifierPool() as pool:
            verdicts = pool.verify_batch(texts, [row[column] for row in rows])
        for row, verdict in zip(rows, verdicts, strict=True):
            assert without_copies(verdict, row[column], row["problem"], mode) == verdict
