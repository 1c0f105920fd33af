"""The verifier's rewards in TRL's own trainer. On any machine: `python examples/grpo_with_our_rewards.py`."""

import argparse

import torch
from datasets import load_dataset
from trl import GRPOConfig, GRPOTrainer

from glow_trl.quickstart import VOCABULARY, QuickstartConfig, write_data
from glow_trl.recipes.built_model import BuiltModelConfig, build_model
from glow_trl.rewards import accuracy_reward, answer_format_reward


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", help="model to train (default: a small one, built here, which knows nothing yet)")
parser.add_argument("--questions", help="rows with problem, answer and, if need be, kind (default: the quickstart's)")
parser.add_argument("--steps", type=int, default=3)
parser.add_argument("--output_dir", default="outputs/examples/grpo")
args = parser.parse_args()

if args.questions is None:
    write_data(QuickstartConfig(train_questions=1, rl_questions=64, test_questions=1), f"{args.output_dir}/data")
    args.questions = f"{args.output_dir}/data/questions.jsonl"
rows = load_dataset("json", data_files=args.questions, split="train")
if args.model is None:
    args.model = f"{args.output_dir}/model"
    build_model(BuiltModelConfig(), rows["problem"], args.model, VOCABULARY)

# Conversations, as the model is asked elsewhere too; the columns answer and kind go to the rewards as they are
rows = rows.map(lambda row: {"prompt": [{"role": "user", "content": row["problem"]}]})
gpu = torch.cuda.is_available()
config = GRPOConfig(
    args.output_dir,
    max_steps=args.steps,
    num_generations=4,
    per_device_train_batch_size=16,
    max_completion_length=32,
    logging_steps=1,
    use_cpu=not gpu,
    bf16=gpu,
)
trainer = GRPOTrainer(args.model, [accuracy_reward, answer_format_reward], config, train_dataset=rows)
trainer.train()
trainer.save_model()
for entry in trainer.state.log_history:
    print({key: value for key, value in entry.items() if key.startswith(("rewards/", "accuracy/"))})
