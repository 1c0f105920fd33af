"""All commands of `glow-trl`: where each stands, and what others need to know of it. Names only; imports nothing."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Command:
    """
    One command.

    Args:
        module (`str`): module whose `main(argv)` runs it.
        summary (`str`): what it does, in a few words.
        configs (`tuple[str, ...]`): dataclasses, by their names in the module, that make up its configuration.
        part (`str`, *optional*): what it is in a recipe: `"data"` (run once, before the arms), `"training"` (run for
            each arm, and launched on several processes), `"evaluation"` (run after each training stage) or
            `"selection"` (run between them, where it is asked for). Without it the command is no stage of a recipe.
        continues (`bool`, *optional*, defaults to `True`): whether a run that was interrupted goes on where it
            stopped; it starts over otherwise.
    """

    module: str
    summary: str
    configs: tuple[str, ...]
    part: Literal["data", "training", "evaluation", "selection"] | None = None
    continues: bool = True


COMMANDS: dict[str, Command] = {
    "run": Command(
        "glow_trl.recipes.run", "all stages of a recipe in order, resuming where it stopped", ("RunConfig",)
    ),
    "collect": Command(
        "glow_trl.collection.collect",
        "trajectories from a teacher: n answers to each question",
        ("CollectConfig",),
        part="data",
    ),
    "label": Command(
        "glow_trl.collection.label",
        "verify trajectories: which are correct, which are not",
        ("LabelConfig",),
        part="data",
        continues=False,
    ),
    "mix": Command(
        "glow_trl.collection.mix",
        "mix labelled trajectories into training sets, with a data card",
        ("MixConfig",),
        part="data",
        continues=False,
    ),
    "loss": Command("glow_trl.analysis.loss", "loss of a checkpoint on trajectories", ("LossConfig",), part="data"),
    "sft": Command(
        "glow_trl.sft",
        "stage 1: GLOW-weighted supervised fine-tuning",
        ("SFTStageConfig", "GLOWConfig", "ModelConfig"),
        part="training",
    ),
    "grpo": Command(
        "glow_trl.grpo",
        "stage 2: GRPO with verifier rewards",
        ("GRPOStageConfig", "GuardConfig", "GRPOArguments", "ModelConfig"),
        part="training",
    ),
    "eval": Command(
        "glow_trl.evaluation.eval", "evaluate a checkpoint on benchmarks", ("EvalConfig",), part="evaluation"
    ),
    "merge": Command("glow_trl.training.merge", "merge an adapter into its model", ("MergeConfig",), continues=False),
    "compare": Command(
        "glow_trl.evaluation.compare",
        "compare two evaluations question by question",
        ("CompareConfig",),
        continues=False,
    ),
    "entropy": Command(
        "glow_trl.evaluation.entropy", "policy entropy of checkpoints, side by side", ("EntropyConfig",)
    ),
    "ready": Command(
        "glow_trl.analysis.ready",
        "which checkpoint RL should start from: measures, a ranking",
        ("ReadyConfig",),
        part="selection",
    ),
    "report": Command(
        "glow_trl.report.report",
        "write summary.json and report.html of a run's folder",
        ("ReportConfig",),
        continues=False,
    ),
    "dynamics": Command(
        "glow_trl.analysis.dynamics",
        "what training did to each sample: losses, gains, weights, a data map",
        ("DynamicsConfig",),
        continues=False,
    ),
    "annotate": Command(
        "glow_trl.analysis.annotate", "which patterns of faulty reasoning trajectories show", ("AnnotateConfig",)
    ),
    "audit": Command(
        "glow_trl.analysis.audit",
        "how wrong the reward is: judges compared on saved rollouts, labels by hand, rates",
        ("AuditConfig",),
        continues=False,
    ),
    "verify": Command(
        "glow_trl.verifiers.verify_file",
        "verify a JSONL file of predictions and gold answers",
        ("VerifyConfig",),
        continues=False,
    ),
    "study": Command(
        "glow_trl.study.study",
        "arms over seeds as a grid of runs, and whether what was claimed held",
        ("StudyConfig",),
    ),
}

# The stages that a recipe may have a file for, in the order in which they run
RECIPE_STAGES = tuple(name for name, command in COMMANDS.items() if command.part is not None)
DATA_STAGES = tuple(name for name in RECIPE_STAGES if COMMANDS[name].part == "data")
TRAINING_STAGES = tuple(name for name in RECIPE_STAGES if COMMANDS[name].part == "training")
