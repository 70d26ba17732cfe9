"""One trainer in a process of its own, for bench/train.py: says its speed, peak memory and losses as JSON.

    python bench/contender.py ours|autograd|trainer|trl|litgpt JOB.json

JOB.json: {"base": FOLDER, "samples": [{"ids": [...], "learn": [...]}, ...], "held": [the same], "steps": n,
"rows": samples of a step, "tokens": of a step at most (ours), "row_tokens": of a row, "rank": r, "adapter":
FOLDER of the adapter in peft's form that all begin with, "full": whether all weights are trained instead,
"warm": steps at the start that are not counted}
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

SAVES = 6


def main() -> None:
    """Run and tell."""
    who, path = sys.argv[1:3]
    job = json.loads(Path(path).read_text("utf-8"))
    contenders = {"ours": ours, "autograd": ours, "trainer": trainer, "trl": trl, "litgpt": litgpt}
    told = contenders[who](job, who)
    told["peak_gib"] = peak()
    print(json.dumps(told))


def device() -> str:
    """Where all contenders compute."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def peak() -> float:
    """The most memory so far, GiB: of tensors on a GPU, else resident."""
    import torch

    if device() == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def rate(job: dict[str, Any]) -> float:
    """The peak learning rate."""
    return 1e-4 if job["full"] else 1e-3


def ours(job: dict[str, Any], who: str) -> dict[str, Any]:
    """The loop of train.tune, without its checkpoints."""
    from modelyard.train import allocator

    allocator.tune()
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")  # as train.tune does
    import torch

    from modelyard.train import loop, packing, whole
    from modelyard.train.choose_step import choose_step
    from modelyard.train.device import ROW_TOKENS
    from modelyard.train.load import load_model
    from modelyard.train.lora import adapt
    from modelyard.train.precision import choose
    from modelyard.train.row import pack
    from modelyard.train.samples import Sample, length
    from modelyard.train.settings import Train
    from modelyard.train.step import AutogradStep

    threads = len(os.sched_getaffinity(0)) if device() == "cpu" else 1
    samples = [(Sample(tuple(one["ids"]), tuple(one["learn"])),) for one in job["samples"]]
    tokens, longest = job["tokens"], job["row_tokens"]
    told = {"learning_rate": rate(job), "warmup": 0.0, "schedule": "constant"}
    train = Train(**told, batch_tokens=tokens, sequence_tokens=longest)
    lengths = list(map(length, samples))
    workers = packing.workers(lengths, tokens, threads)
    torch.set_num_threads(threads // workers)
    model = load_model(Path(job["base"]), device())
    if job["full"]:
        trained: Any = whole.take(model)
    else:
        trained = adapt(model, rank=job["rank"], scale=2.0, seed=0)
        load_adapter(trained, Path(job["adapter"]))
    (shortest,) = min(samples, key=length)
    if who == "ours":
        stored = Path(job["base"]) / "model.safetensors"
        step, _ = choose_step(model, trained, shortest, longest, workers, threads, stored)
    else:
        step = AutogradStep(model, trained, workers=workers, threads=threads)
    del model
    allocator.give_back()
    row_tokens = longest if device() == "cpu" else max(longest, min(tokens, ROW_TOKENS))
    order = packing.Order(0, tokens, row_tokens, workers)
    batches = [
        loop.batch(samples, packing.rows(range(at, at + job["rows"]), lengths, order))
        for at in range(0, job["steps"] * job["rows"], job["rows"])
    ]
    third = packing.rows(range(max(1, job["rows"] // 3)), lengths, order)  # as train.tune has it
    precision = choose("auto", step, loop.batch(samples, third))
    run = loop.Run(step, trained.flat, samples, order, job["steps"], 0, train, Path(), lambda *_, **__: None)
    adamw = loop.optimizer(trained.flat, train)
    losses, ends = [], []
    for number, rows in enumerate(batches):
        losses.append(loop.update(run, adamw, number, rows))
        ends.append(time.perf_counter())
    rows = [pack([Sample(tuple(one["ids"]), tuple(one["learn"]))]) for one in job["held"]]
    loss = sum(float(losses.sum()) for losses in step.losses(rows)) / sum(len(row.labels) for row in rows)
    told = {"name": step.name, "precision": precision.value, "losses": losses, "held": loss}
    if job.get("checkpoint"):
        told["checkpoint_share"] = checkpoint_share(trained.flat, adamw, losses, ends)
    return told | speed(job, ends)


def checkpoint_share(flat: Any, adamw: Any, losses: list[float], ends: list[float]) -> float:
    """Of the run's time, what its checkpoints take as often as train.tune writes them."""
    from modelyard.train import checkpoint

    step_s, took = statistics.mean(after - before for before, after in pairwise(ends)), []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(SAVES):
            began = time.perf_counter()
            checkpoint.save(Path(folder), flat, adamw, checkpoint.Progress(losses=losses))
            took.append(time.perf_counter() - began)
    between = checkpoint.every(step_s, took[0]) * step_s
    cost = statistics.mean(took[1:])
    return cost / (between + cost)


def load_adapter(adapters: Any, folder: Path) -> None:
    """Begin where everybody begins."""
    from safetensors.torch import load_file

    found = load_file(folder / "adapter_model.safetensors")
    for name, a, b in adapters.tensors():
        a.copy_(found[f"base_model.model.{name}.lora_A.weight"])
        b.copy_(found[f"base_model.model.{name}.lora_B.weight"])


def speed(job: dict[str, Any], ends: list[float]) -> dict[str, Any]:
    """Tokens of the samples, no padding counted, a second, after the first steps."""
    counted = job["samples"][job["warm"] * job["rows"] : len(ends) * job["rows"]]
    tokens = sum(len(one["ids"]) for one in counted)
    return {"tps": tokens / (ends[-1] - ends[job["warm"] - 1])}


def trainer(job: dict[str, Any], _: str) -> dict[str, Any]:
    """transformers' Trainer with peft, as their documentation has it; the samples in their order."""
    import torch
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    model, tokenizer = _peft(job)
    arguments, clock = TrainingArguments(**_told(job)), _clock()

    class InOrder(Trainer):
        def _get_train_sampler(self, *_: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

    made = InOrder(
        model=model,
        args=arguments,
        train_dataset=_rows(job),
        data_collator=DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=-100),
        callbacks=[clock],
    )
    made.train()
    losses = [row["loss"] for row in made.state.log_history if "loss" in row]
    return {"name": "trainer", "precision": precision(), "losses": losses, "held": _held(model, job)} | speed(
        job, clock.ends
    )


def precision() -> str:
    """Of the peers: their fastest here."""
    return "bf16" if device() == "cuda" else "fp32"


def _peft(job: dict[str, Any]) -> tuple[Any, Any]:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job["base"], local_files_only=True)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(job["base"], dtype=torch.float32, local_files_only=True)
    if job["full"]:
        return model, tokenizer
    return PeftModel.from_pretrained(model, job["adapter"], is_trainable=True), tokenizer


def _labels(one: dict[str, Any]) -> list[int]:
    return [token if learn else -100 for token, learn in zip(one["ids"], one["learn"], strict=True)]


def _rows(job: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "input_ids": one["ids"],
            "attention_mask": [1] * len(one["ids"]),
            "labels": _labels(one),
        }
        for one in job["samples"]
    ]


def _told(job: dict[str, Any]) -> dict[str, Any]:
    """The arguments of transformers' trainers."""
    return {
        "output_dir": "/nowhere",
        "per_device_train_batch_size": job["rows"],
        "max_steps": job["steps"],
        "learning_rate": rate(job),
        "lr_scheduler_type": "constant",  # theirs and ours differ in where they end: one rate for all
        "weight_decay": 0.0,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": device() == "cpu",
        "bf16": device() == "cuda",
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
    }


def _clock() -> Any:
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.ends: list[float] = []

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.ends.append(time.perf_counter())

    return Clock()


def trl(job: dict[str, Any], _: str) -> dict[str, Any]:
    """TRL's SFTTrainer; samples shorter than a row are packed by its best fit, as many tokens a step."""
    import torch
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    model, tokenizer = _peft(job)
    longest = max(len(one["ids"]) for one in job["samples"])
    packing = min(len(one["ids"]) for one in job["samples"]) < longest
    told, clock, seen = _told(job), _clock(), []
    if packing:
        whole = sum(len(one["ids"]) for one in job["samples"])
        told["per_device_train_batch_size"] = max(1, round(whole / job["steps"] / job["row_tokens"]))
    arguments = SFTConfig(**told, packing=packing, max_length=job["row_tokens"], gradient_checkpointing=False)

    class InOrder(SFTTrainer):
        def _get_train_sampler(self, *_: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

        def compute_loss(self, model: Any, inputs: Any, *rest: Any, **more: Any) -> Any:
            seen.append(inputs["input_ids"].numel())
            return super().compute_loss(model, inputs, *rest, **more)

    rows = [{"input_ids": one["ids"], "labels": _labels(one)} for one in job["samples"]]
    made = InOrder(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[clock],
    )
    made.train()
    losses = [row["loss"] for row in made.state.log_history if "loss" in row]
    tps = sum(seen[job["warm"] :]) / (clock.ends[-1] - clock.ends[job["warm"] - 1])
    return {"name": "trl", "precision": precision(), "losses": losses, "held": _held(model, job), "tps": tps}


def litgpt(job: dict[str, Any], _: str) -> dict[str, Any]:
    """LitGPT's own model, LoRA, loss and Fabric, by the loop of its finetune/lora.py: a sample at a time."""
    import torch
    from lightning.fabric import Fabric
    from litgpt.lora import GPT, Config, mark_only_lora_as_trainable
    from litgpt.scripts.convert_hf_checkpoint import convert_hf_checkpoint
    from litgpt.utils import chunked_cross_entropy

    adapted = {f"lora_{part}": True for part in ("query", "key", "value", "projection", "mlp")}
    config = Config.from_name(
        "SmolLM2-135M-Instruct", lora_r=job["rank"], lora_alpha=2 * job["rank"], **adapted
    )
    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
    bare = GPT(config)
    with tempfile.TemporaryDirectory() as folder:
        for path in Path(job["base"]).iterdir():
            (Path(folder) / path.name).symlink_to(path)
        with contextlib.redirect_stdout(sys.stderr):
            convert_hf_checkpoint(Path(folder), model_name=config.name)
        bare.load_state_dict(torch.load(Path(folder) / "lit_model.pth"), strict=False)
    mark_only_lora_as_trainable(bare)
    bare.max_seq_length = job["row_tokens"]
    model = fabric.setup_module(bare)
    learned = [one for one in model.parameters() if one.requires_grad]
    optimizer = fabric.setup_optimizers(torch.optim.AdamW(learned, lr=rate(job), weight_decay=0.0))

    def loss_of(one: dict[str, Any]) -> Any:
        logits = model(torch.tensor([one["ids"]]), lm_head_chunk_size=128)
        logits[-1] = logits[-1][..., :-1, :]
        return chunked_cross_entropy(logits, torch.tensor([_labels(one)])[..., 1:])

    losses, ends = [], []
    for at in range(0, len(job["samples"]), job["rows"]):
        found = []
        for one in job["samples"][at : at + job["rows"]]:
            loss = loss_of(one)
            fabric.backward(loss / job["rows"])
            found.append(loss.item())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(statistics.mean(found))
        ends.append(time.perf_counter())
    with torch.no_grad():
        total = sum(loss_of(one).item() * sum(one["learn"]) for one in job["held"])
    held = total / sum(sum(one["learn"]) for one in job["held"])
    return {"name": "litgpt", "precision": "fp32", "losses": losses, "held": held} | speed(job, ends)


def _held(model: Any, job: dict[str, Any]) -> float:
    import torch

    total, labels = 0.0, 0
    model.eval()
    with torch.no_grad():
        for one in job["held"]:
            ids = torch.tensor([one["ids"]], device=model.device)
            wanted = torch.tensor(_labels(one), device=model.device)
            logits = model(ids).logits[0, :-1]
            total += torch.nn.functional.cross_entropy(logits, wanted[1:], reduction="sum").item()
            labels += sum(one["learn"])
    return total / labels


if __name__ == "__main__":
    main()
