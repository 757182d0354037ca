"""Sample with vLLM as its quick start does: ``generate.py MODEL PROMPTS.txt OUTPUT.jsonl``.

Contract: 4 completions of at most 16 tokens for each line of PROMPTS; those that ended by themselves are written.
``ENGINE_OPTIONS`` (JSON) are options of `LLM`.

See it work: ``python -m benchmarks loop``.
"""

import json
import os
import sys

from vllm import LLM, SamplingParams


def main() -> None:
    model, prompts_file, output_file = sys.argv[1:4]
    options = json.loads(os.environ.get("ENGINE_OPTIONS", "{}"))
    with open(prompts_file) as file:
        prompts = file.read().splitlines()
    llm = LLM(model=model, **options)
    outputs = llm.generate(prompts, SamplingParams(n=4, temperature=1.0, max_tokens=16))
    sampled = kept = 0
    with open(output_file, "w") as file:
        for output in outputs:
            for sample in output.outputs:
                sampled += 1
                if sample.finish_reason == "stop":
                    kept += 1
                    file.write(json.dumps({"prompt": output.prompt, "completion": sample.text}) + "\n")
    print(f"{sampled} sampled, {kept} kept")


if __name__ == "__main__":
    main()
