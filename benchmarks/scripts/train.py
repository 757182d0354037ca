"""Finetune with TRL as its quick start does: ``train.py MODEL ROWS.jsonl OUTPUT``.

Contract: 20 optimiser steps of `SFTTrainer`, then model and tokenizer are saved. ``TRAINING_OPTIONS`` (JSON) are more
options of `SFTConfig`.

See it work: ``python -m benchmarks loop``.
"""

import json
import os
import sys

import torch
from datasets import load_dataset
from trl import SFTConfig, SFTTrainer


def main() -> None:
    model, rows, output = sys.argv[1:4]
    options = json.loads(os.environ.get("TRAINING_OPTIONS", "{}"))
    dataset = load_dataset("json", data_files=rows, split="train")
    trainer = SFTTrainer(
        model=model,
        train_dataset=dataset,
        args=SFTConfig(output_dir=output, max_steps=20, use_cpu=not torch.cuda.is_available(), **options),
    )
    trainer.train()
    trainer.save_model(output)


if __name__ == "__main__":
    main()
