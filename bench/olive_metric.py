"""How Olive judges each model that it tries: right answers, and milliseconds for one, in its environment.

The questions come from the file that ASKED names: prompts as token ids with their right answers. An
evaluator of its own, since Olive 0.13 cannot write down a metric of type `custom`.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy
import onnxruntime_genai as genai
from olive.evaluator.metric_result import MetricResult, flatten_metric_result
from olive.evaluator.olive_evaluator import OliveEvaluator
from olive.evaluator.registry import Registry
from tokenizers import Tokenizer

from modelyard.verify.score import exact_match


@Registry.register("answers")
class Answers(OliveEvaluator):
    """Greedy answers by ONNX Runtime GenAI, one question after the other."""

    def evaluate(self, model: Any, metrics: Any, device: Any = None, execution_providers: Any = None) -> Any:
        told = json.loads(Path(os.environ["ASKED"]).read_text("utf-8"))
        network = genai.Model(str(Path(model.model_path).parent))
        tokenizer = Tokenizer.from_file(told["tokenizer"])  # genai's own knows not every class
        right, began = 0.0, time.monotonic()
        for prompt, answer in told["prompts"]:
            params = genai.GeneratorParams(network)
            params.set_search_options(max_length=len(prompt) + told["cap"], do_sample=False)
            generator = genai.Generator(network, params)
            generator.append_tokens(numpy.array(prompt, numpy.int32))
            written: list[int] = []
            while not generator.is_done() and len(written) < told["cap"]:
                generator.generate_next_token()
                token = int(generator.get_next_tokens()[0])
                if token == told["end"]:
                    break
                written.append(token)
            right += exact_match(tokenizer.decode(written), answer)
        count = len(told["prompts"])
        milliseconds = 1e3 * (time.monotonic() - began) / count
        speed = {"value": milliseconds, "priority": 1, "higher_is_better": False}
        share = {"value": right / count, "priority": 2, "higher_is_better": True}
        return flatten_metric_result(
            {
                "time": MetricResult.model_validate({"avg": speed}),
                "right": MetricResult.model_validate({"accuracy_score": share}),
            }
        )
