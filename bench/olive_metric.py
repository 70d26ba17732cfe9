"""What Olive asks of each model that it tries: right answers, and seconds for a thousand; runs in its environment.

The questions come from the file that ASKED names: prompts as token ids with their right answers.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from modelyard.verify.score import exact_match


def answers(model: Any, device: Any, execution_providers: Any) -> dict[str, float]:
    """Greedy answers by ONNX Runtime GenAI, one question after the other."""
    import numpy
    import onnxruntime_genai as genai

    told = json.loads(Path(os.environ["ASKED"]).read_text("utf-8"))
    network = genai.Model(str(Path(model.model_path).parent))
    tokenizer = genai.Tokenizer(network)
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
        right += exact_match(tokenizer.decode(numpy.array(written, numpy.int32)), answer)
    count = len(told["prompts"])
    return {"right": right / count, "seconds": 1e3 * (time.monotonic() - began) / count}
