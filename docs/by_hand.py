"""Self-training written by hand with vLLM and TRL: python docs/by_hand.py MODEL problems.jsonl OUTPUT."""

import gc
import json
import math
import random
import re
import sys
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer
from vllm import LLM, SamplingParams

ROUNDS, SAMPLES, CAP, HELD_OUT = 2, 4, 4, 50
MAX_TOKENS, CONTEXT = 8, 64


def main(model: str, data: str, output: str) -> None:
    problems = [json.loads(line) for line in Path(data).read_text().splitlines()]
    random.Random(0).shuffle(problems)
    gate, train = problems[:HELD_OUT], problems[HELD_OUT:]
    base = best = model
    best_right = accuracy(base, gate)
    print(f"base: {sum(best_right)}/{len(gate)}")
    for number in range(1, ROUNDS + 1):
        kept = right_answers(best, train, seed=1000 * number)
        if not kept:
            raise SystemExit("nothing to train on")
        candidate = finetune(base, kept, f"{output}/round-{number}", seed=number)
        right = accuracy(candidate, gate)
        print(f"round {number}: trained on {len(kept)} rows, {sum(right)}/{len(gate)}")
        if clearly_better(best_right, right):
            best, best_right = candidate, right
    print(f"best: {best}")


def right_answers(model: str, problems: list[dict], seed: int) -> list[dict]:
    prompts = [problem["prompt"] for problem in problems for _ in range(SAMPLES)]
    params = [
        SamplingParams(temperature=1.0, max_tokens=MAX_TOKENS, seed=seed + place) for place in range(len(prompts))
    ]
    outputs = generate(model, prompts, params)
    kept = []
    for place, problem in enumerate(problems):
        seen = set()
        for output in outputs[place * SAMPLES : (place + 1) * SAMPLES]:
            said = output.outputs[0]
            if said.finish_reason != "stop" or not is_right(said.text, problem["answer"]) or said.text in seen:
                continue
            seen.add(said.text)
            if len(seen) <= CAP:
                kept.append({"prompt_ids": output.prompt_token_ids, "completion_ids": list(said.token_ids)})
    return kept


def is_right(text: str, answer: str) -> bool:
    numbers = re.findall(r"-?\d+", text.replace(",", ""))
    return bool(numbers) and numbers[-1] == answer


def finetune(start: str, rows: list[dict], output: str, seed: int) -> str:
    data = Dataset.from_list(
        [
            {
                "input_ids": row["prompt_ids"] + row["completion_ids"],
                "completion_mask": [0] * len(row["prompt_ids"]) + [1] * len(row["completion_ids"]),
            }
            for row in rows
        ]
    )
    gpu = torch.cuda.is_available()
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(start, dtype=torch.float32),
        args=SFTConfig(
            output_dir=output,
            seed=seed,
            max_steps=50,
            learning_rate=1e-3,
            per_device_train_batch_size=16,
            max_length=None,
            completion_only_loss=True,
            report_to="none",
            save_strategy="no",
            use_cpu=not gpu,
            bf16=gpu,
        ),
        train_dataset=data,
        processing_class=AutoTokenizer.from_pretrained(start),
    )
    trainer.train()
    trainer.save_model(output)
    del trainer
    gc.collect()
    return output


def accuracy(model: str, problems: list[dict]) -> list[bool]:
    params = SamplingParams(temperature=0.0, max_tokens=MAX_TOKENS)
    outputs = generate(model, [problem["prompt"] for problem in problems], params)
    pairs = zip(outputs, problems, strict=True)
    return [is_right(output.outputs[0].text, problem["answer"]) for output, problem in pairs]


def clearly_better(before: list[bool], after: list[bool]) -> bool:
    won = sum(new and not old for old, new in zip(before, after, strict=True))
    lost = sum(old and not new for old, new in zip(before, after, strict=True))
    return won - lost > 1.96 * math.sqrt(max(1, won + lost))


def generate(model: str, prompts: list[str], params: SamplingParams | list[SamplingParams]) -> list:
    llm = LLM(
        model=model,
        max_model_len=CONTEXT,
        generation_config="vllm",
        enforce_eager=True,
        gpu_memory_utilization=0.3,
    )
    outputs = llm.generate(prompts, params)
    llm.llm_engine.engine_core.shutdown()
    del llm
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return outputs


if __name__ == "__main__":
    Path(sys.argv[3]).mkdir(parents=True, exist_ok=True)
    main(*sys.argv[1:4])
