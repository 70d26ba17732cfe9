"""A base model in memory, with the attention that packed rows need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..errors import TrainingError
from .attention import register
from .settings import Distil
from .teacher import Teacher


def load_model(folder: Path, device: torch.device | str = "cpu") -> Any:
    """The model in `folder` as transformers knows it, in float32, dropout off. Raises TrainingError."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32,
            attn_implementation=register(),
            local_files_only=True,
            trust_remote_code=False,
        )
    except (ValueError, OSError, RuntimeError) as error:
        raise TrainingError(
            f"transformers cannot load the base: {str(error).splitlines()[0][:200]}",
            where="train.base",
            try_="a Llama, Qwen, Mistral or SmolLM model",
        ) from None
    for parameter in model.parameters():  # of a file in float32 they are a map, all of which stays in memory
        parameter.data = parameter.data.clone()
    return model.to(device).eval()


def load_teacher(folder: Path, distil: Distil, words: int, device: torch.device | str = "cpu") -> Teacher:
    """The model in `folder` as a teacher of one with so many words."""
    return Teacher(load_model(folder, device), words, share=distil.share, temperature=distil.temperature)
