"""GLOW on right and wrong trajectories, without a recipe. On any machine: `python examples/glow_trainer.py`."""

import argparse

import torch
from datasets import load_dataset

from glow_trl import GLOWConfig, GLOWTrainer
from glow_trl.quickstart import VOCABULARY, QuickstartConfig, write_data
from glow_trl.recipes.built_model import BuiltModelConfig, build_model


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", help="model to train (default: a small one, built here)")
parser.add_argument("--trajectories", help="rows with problem and completion (default: the quickstart's)")
parser.add_argument("--epochs", type=int, default=2)
parser.add_argument("--output_dir", default="outputs/examples/glow_trainer")
args = parser.parse_args()

if args.trajectories is None:
    write_data(QuickstartConfig(train_questions=100, rl_questions=1, test_questions=1), f"{args.output_dir}/data")
    args.trajectories = f"{args.output_dir}/data/trajectories.jsonl"
rows = load_dataset("json", data_files=args.trajectories, split="train").rename_column("problem", "prompt")
if args.model is None:
    args.model = f"{args.output_dir}/model"
    build_model(BuiltModelConfig(), [*rows["prompt"], *rows["completion"]], args.model, VOCABULARY)

gpu = torch.cuda.is_available()
config = GLOWConfig(
    args.output_dir, num_train_epochs=args.epochs, glow_alpha=2.0, glow_beta=10.0, use_cpu=not gpu, bf16=gpu
)
trainer = GLOWTrainer(args.model, config, train_dataset=rows)
trainer.train()
trainer.save_model()
gain = trainer.ledger.gain
print(f"of {len(gain)} trajectories the loss of {int((gain > 0).sum())} fell in the last epoch")
