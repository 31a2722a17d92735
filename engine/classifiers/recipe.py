"""How a classifier is trained: one frozen, checked set of values, saved beside the weights."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from engine.classifiers.losses import LOSSES, loss
from engine.errors import BadInput


class Sift(BaseModel):
    """Scale-invariant fine-tuning (DeBERTa, 2006.03654, A.5): answers are not to change with the embeddings.

    Each batch is also answered with its normalised embeddings moved, by chance and then against the classifier; the
    answers' difference is added to the loss. About 2.7 times the cost of a training without. With few steps of this
    size it is mostly the chance that regularises. The defaults are microsoft/DeBERTa's own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    weight: float = Field(5.0, gt=0, le=1000)
    """Of the difference, a symmetric Kullback-Leibler divergence, beside the loss."""
    init: float = Field(1e-2, ge=0, le=100)
    """Standard deviation of the move by chance; it is cut off at twice that."""
    step_size: float = Field(1e-4, ge=0, le=100)
    """Of each step against the classifier, in the token's coordinate that matters most (or of the whole, in `l2`)."""
    steps: int = Field(1, ge=0, le=20)
    norm: Literal["linf", "l2"] = "linf"
    """Of each token's gradient, by which it is divided."""


class EarlyStop(BaseModel):
    """Stop when the validation loss falls no more, and take the weights from where it was least."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    patience: int = Field(3, ge=1)
    """Evaluations in a row without a new least loss after which to stop."""
    every: int | None = Field(None, ge=1)
    """Steps between two evaluations; None: one at the end of each epoch. The last step is always evaluated."""
    least_gain: float = Field(0.0, ge=0)
    """What the loss must fall by to count as a new least."""


class Recipe(BaseModel):
    """Everything, besides the examples, that decides what `train` produces.

    The defaults suit the embedded encoder on a laptop. The paper's (A.4, for `microsoft/deberta-v3-large`): one epoch,
    batch 3, learning rate 1e-6 to 4e-6, all layers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    encoder: str = Field("minilm", min_length=1)
    """`minilm` (inside the installation), a Hugging Face hub name, or a local folder."""
    trainable_layers: int | None = Field(2, ge=1)
    """Train the top this-many layers and the head; the rest is frozen and computed once. None trains everything."""
    epochs: int = Field(2, ge=1, le=1000)
    """Passes over the upsampled examples."""
    batch_size: int = Field(16, ge=1, le=100_000)
    learning_rate: float = Field(3e-4, gt=0, le=1)
    """Of the encoder's trainable layers, at the end of the warm-up."""
    head_learning_rate: float | None = Field(None, gt=0, le=1)
    """Of the linear head; None takes `learning_rate`."""
    warmup: float = Field(0.1, ge=0, le=1)
    """Share of the steps over which the rate climbs from nothing; then it falls in a line to nothing."""
    weight_decay: float = Field(0.01, ge=0, le=100)
    """Of matrices; biases and norms are spared."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Before the linear head."""
    hidden_dropout: float | None = Field(None, ge=0, lt=1)
    """Within trained layers; None keeps the encoder's own."""
    max_grad_norm: float = Field(1.0, gt=0)
    upsample_cap: float = Field(5.0, ge=1)
    """Positives are repeated until they are as many as the negatives, but at most this many times."""
    max_tokens: int = Field(256, ge=4)
    """Longer snippets lose the end of their longer part; special tokens included."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """Of the training arithmetic; "bf16" only where the machine is good at it, as GPUs and some CPUs are."""
    export_int8: bool = True
    """Write the int8 graph as well; a model that is only scored on GPUs does without."""
    seed: int = Field(0, ge=0, le=2**63 - 1)
    loss: str = "cross_entropy"
    """A name in `engine.classifiers.losses.LOSSES`."""
    loss_parameters: dict[str, float] = {}
    """Of that loss, checked against its own fields; what is not named is at its default."""
    accumulate: int = Field(1, ge=1, le=100_000)
    """Batches whose gradients make one step, as if they were one batch; for what memory does not hold at once."""
    sift: Sift | None = None
    """None: off. It needs the embeddings at every step: frozen layers then run each time and are not kept."""
    early_stop: EarlyStop | None = None
    """None: all epochs are trained. Needs validation examples."""

    @field_validator("loss")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in LOSSES:
            raise ValueError(f"unknown loss {name!r}; known: {', '.join(sorted(LOSSES))}")
        return name

    @field_validator("loss_parameters")
    @classmethod
    def _fitting(cls, parameters: dict[str, float], others: ValidationInfo) -> dict[str, float]:
        if name := others.data.get("loss"):
            try:
                loss(name, parameters)
            except BadInput as error:
                raise ValueError(str(error)) from None
        return parameters

    def identity(self) -> str:
        """What decides the weights, as text; of the later fields only those that are not at their defaults.

        So a training that was done before this project had them is still known by its fingerprint.
        """
        unused = {name for name in LATER if getattr(self, name) == Recipe.model_fields[name].default}
        return self.model_dump_json(exclude=unused)


LATER = frozenset({"loss", "loss_parameters", "accumulate", "sift", "early_stop"})
"""Fields that recipes did not have at first; each one's default leaves everything as it was without it."""
