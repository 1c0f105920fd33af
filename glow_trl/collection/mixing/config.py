"""Configuration of `glow-trl mix`."""

from dataclasses import dataclass

from ...data.config import RowsConfig
from ...errors import UserError
from ...stages.config import nearest, setting


_CHOICES = {
    "mixture": ("positive", "negative", "all", "balanced"),
    "balance": ("overall", "question"),
    "truncated": ("keep", "drop"),
    "prompts_never_solved": ("drop", "keep"),
    "prompts_always_solved": ("drop", "keep"),
    "prompt_order": ("random", "easy_first", "hard_first"),
    "ledger_measure": ("loss", "gain"),
}
_COUNTS = ("max_per_question", "max_positive_per_question", "max_negative_per_question", "min_tokens", "max_tokens")
_SHARES = ("min_pass_rate", "max_pass_rate", "validation_split", "contamination_overlap", "near_duplicate_threshold")


@dataclass
class MixConfig(RowsConfig):
    r"""
    Which labelled trajectories to mix, and how: [`~glow_trl.data.config.RowsConfig`], and the following. The filters
    work in the order in which they stand here; the data card says what each removed. Two questions are the same if
    their texts and options differ in case and spacing only.

    Parameters:
        output_dir (`str`):
            Where to write `train.jsonl` and `validation.jsonl` (the kept rows, in the order of the input),
            `prompts.jsonl` (the questions for stage 2), `rejects.jsonl` (rows that cannot be used, and why),
            `contamination.jsonl` and `duplicates.jsonl` (the rows that these filters found, and what they resemble),
            and the data card, `card.md` and `card.json`, with its picture, `lengths.svg`.
        decontaminate (`list[str]`, *optional*):
            Benchmarks whose questions must not be trained on: names of those that ship, YAML files of others, files
            of questions; `all` for every one that ships, `local` for those whose data lie on this machine. Questions
            are compared, completions are not. See [`~glow_trl.collection.mixing.decontamination.ContaminationIndex`].
        contamination_ngram (`int`, *optional*, defaults to `13`):
            Number of words of the n-grams that are compared.
        contamination_overlap (`float`, *optional*, defaults to `0.8`):
            Share of a benchmark question's own n-grams that a training question has to have to be left out.
        near_duplicate_threshold (`float`, *optional*):
            Leave out a completion that is this similar to another one of the same question and label: Jaccard index
            of their 20-character windows, from 0.5 to 1. At 1 only exact repetitions are left out, without it none.
            Questions are not compared with each other.
        truncated (`str`, *optional*, defaults to `"keep"`):
            Whether to `"keep"` or `"drop"` completions that were cut off: those whose `finish_reason` is `"length"`.
        min_tokens, max_tokens (`int`, *optional*):
            Bounds on the number of tokens of the completion.
        model_name_or_path (`str`, *optional*):
            Tokenizer that counts these tokens; by default the `n_tokens` of the rows counts.
        min_pass_rate, max_pass_rate (`float`, *optional*):
            Bounds on the share of positive rows among all usable rows of the question, both included.
        mixture (`str`, *optional*, defaults to `"all"`):
            Which trajectories: `"positive"`, `"negative"`, `"all"`, or `"balanced"`, as many positive ones as
            negative ones.
        max_positive_per_question, max_negative_per_question, max_per_question (`int`, *optional*):
            Trajectories of a question at most, chosen at random. With `"balanced"`, half of `max_per_question` goes
            to each label.
        balance (`str`, *optional*, defaults to `"overall"`):
            Where `"balanced"` draws as many of the more frequent label as there are of the other: `"overall"`, in
            the training set and in the validation set, or within each `"question"`.
        validation_split (`float`, *optional*, defaults to `0.05`):
            Share of the questions that go to `validation.jsonl` with all of their trajectories. Which ones follows
            from their texts and the seed alone.
        seed (`int`, *optional*, defaults to `42`):
            Seed of all random choices. None of them depends on the order of the files.
        prompts (`bool`, *optional*, defaults to `True`):
            Whether to write `prompts.jsonl`: every training question with its answer, number of trajectories (`n`),
            of positive ones (`n_correct`) and `pass_rate`, if it is within the pass rate's bounds and
            no benchmark question.
        prompts_never_solved, prompts_always_solved (`str`, *optional*, defaults to `"drop"`):
            Whether to `"keep"` or `"drop"` questions that teach nothing in stage 2 because all answers are the same.
        prompt_order (`str`, *optional*, defaults to `"random"`):
            `"random"`, `"easy_first"` or `"hard_first"`: by pass rate, or by `ledger`. Stage 2 keeps the order with
            `shuffle_dataset: false`.
        ledger (`str`, *optional*):
            Folder of the losses that a run of stage 1 on a mixture of the same trajectories left, such as
            `outputs/NAME/glow/sft/ledger`. The mean over a question's trajectories says how hard it is.
        ledger_measure (`str`, *optional*, defaults to `"loss"`):
            What makes a question hard: a high `"loss"` in the last epoch, or a low `"gain"` since the one before.
    """

    output_dir: str | None = setting(None, "Where to write the training set and its card.", required=True)
    decontaminate: list[str] | None = setting(
        None, "Benchmarks that must not be trained on: names, YAML files, files of questions, all, local."
    )
    contamination_ngram: int = setting(13, "Number of words of the n-grams that are compared.")
    contamination_overlap: float = setting(0.8, "Share of a benchmark question's own n-grams that make a hit.")
    near_duplicate_threshold: float | None = setting(
        None, "Similarity from which on a completion repeats another of the same question and label."
    )
    truncated: str = setting("keep", "What to do with completions that were cut off.", choices=_CHOICES["truncated"])
    min_tokens: int | None = setting(None, "Tokens of the completion at least.")
    max_tokens: int | None = setting(None, "Tokens of the completion at most.")
    model_name_or_path: str | None = setting(None, "Tokenizer that counts them (default: the rows' n_tokens).")
    min_pass_rate: float | None = setting(None, "Pass rate of the question at least.")
    max_pass_rate: float | None = setting(None, "Pass rate of the question at most.")
    mixture: str = setting("all", "Which trajectories.", choices=_CHOICES["mixture"])
    max_positive_per_question: int | None = setting(None, "Positive trajectories of a question at most.")
    max_negative_per_question: int | None = setting(None, "Negative trajectories of a question at most.")
    max_per_question: int | None = setting(None, "Trajectories of a question at most.")
    balance: str = setting("overall", "Where a balanced mixture is balanced.", choices=_CHOICES["balance"])
    validation_split: float = setting(0.05, "Share of the questions that go to validation.jsonl.")
    seed: int = setting(42, "Seed of all random choices.")
    prompts: bool = setting(True, "Whether to write the questions for stage 2.")
    prompts_never_solved: str = setting(
        "drop", "Questions without a positive row.", choices=_CHOICES["prompts_never_solved"]
    )
    prompts_always_solved: str = setting(
        "drop", "Questions without a negative row.", choices=_CHOICES["prompts_always_solved"]
    )
    prompt_order: str = setting("random", "Order of the questions for stage 2.", choices=_CHOICES["prompt_order"])
    ledger: str | None = setting(None, "Folder of the losses of stage 1, to order the questions by.")
    ledger_measure: str = setting("loss", "What makes a question hard.", choices=_CHOICES["ledger_measure"])

    def __post_init__(self):
        super().__post_init__()
        if not self.output_dir:
            raise UserError("output_dir is required: where to write the training set")
        self.decontaminate = [self.decontaminate] if isinstance(self.decontaminate, str) else self.decontaminate or []
        if not isinstance(self.decontaminate, list) or not all(isinstance(name, str) for name in self.decontaminate):
            raise UserError(f"decontaminate: expected a list of names, got {self.decontaminate!r}")
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                close = nearest(str(value), set(choices)) or f"; there are {', '.join(choices)}"
                raise UserError(f"{name}: unknown value {value!r}{close}")
        for name in _COUNTS:
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise UserError(f"{name}: expected a whole number of at least 1, got {value!r}")
        for name in _SHARES:
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float) and 0 <= value <= 1):
                raise UserError(f"{name}: expected a number from 0 to 1, got {value!r}")
        for low, high in (("min_tokens", "max_tokens"), ("min_pass_rate", "max_pass_rate")):
            if None not in (getattr(self, low), getattr(self, high)) and getattr(self, low) > getattr(self, high):
                raise UserError(f"{low} ({getattr(self, low)}) is above {high} ({getattr(self, high)})")
        # Below this the sketches of texts of too different lengths would have to be compared
        if self.near_duplicate_threshold is not None and self.near_duplicate_threshold < 0.5:
            raise UserError(f"near_duplicate_threshold: expected 0.5 to 1, got {self.near_duplicate_threshold}")
        if self.validation_split == 1:
            raise UserError("validation_split: 1 leaves nothing to train on")
        if self.contamination_ngram < 2:
            raise UserError(f"contamination_ngram: expected at least 2, got {self.contamination_ngram}")
        if self.contamination_overlap == 0:
            raise UserError("contamination_overlap: 0 would make every question a hit; expected more than 0, up to 1")
        if self.mixture == "balanced" and self.max_per_question == 1:
            raise UserError("max_per_question: a balanced mixture needs at least 2, one for each label")
        if self.ledger is not None and self.prompt_order == "random":
            raise UserError("ledger orders the questions for stage 2: set prompt_order to hard_first or easy_first")
