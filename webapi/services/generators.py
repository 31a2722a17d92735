"""Generators: tuned by a job, and asked for completions that pass a policy's filter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import IntegrityError, transaction

from engine.errors import BadInput, GeneratorError
from engine.generation.rejection import rejection_sample
from engine.generation.tuning import TuningRecipe
from engine.generation.tuning.reading import check_stories_divide
from webapi.errors import DomainError, FieldError
from webapi.models import Classifier, Corpus, Generator, Job, JobState, Policy, Round, User
from webapi.models.generators import TUNE_GENERATOR
from webapi.selectors.classifiers import serving_classifier
from webapi.services.classifiers import scorer_at_hand
from webapi.services.corpora import server_path
from webapi.services.key_variables import check_key_variables
from workers.generators import check_chosen
from workers.jobs import enqueue
from workers.sample import SAMPLE_COMPLETIONS, Sampling, file_format

if TYPE_CHECKING:
    from engine.generation.causal_lm import CausalLMGenerator

LONGEST_NAME = 100
MAX_PROMPTS, MAX_COPIES, MAX_TRIES = 16, 8, 100
MAX_PROPOSALS = 1600
"""Of one request, at most: half a minute of a small model on two cores. For more there is the job."""
WAIT_SECONDS = 20.0
"""How long a request waits for another that samples in this process."""
_loading, _sampling = Lock(), Lock()


class SampledText(NamedTuple):
    """One sample: its completion, or None where no proposal was accepted, and what it took."""

    completion: str | None
    tries: int
    score: float | None
    """Of the completion; None where there is none, or no filter."""
    logit: float | None
    rejected: tuple[float, ...] = ()
    """Logits of the proposals before it, or of all where none was accepted; +inf for an empty one."""


def generator_create(*, name: str, corpus: Corpus, recipe: TuningRecipe, created_by: User | None = None) -> Generator:
    """A new generator, which a job tunes; asked for twice, it is one, and where its job failed or was cancelled, a new
    job goes on from the last checkpoint.

    Raises DomainError `name_taken` where the name stands for another corpus or recipe, `path_not_allowed`, or BadInput
    for a name that is none, a base that is not there, or stories too few to train and to measure on.
    """
    if not (len(name.strip()) > 0 and len(name) <= LONGEST_NAME and name.isprintable()):
        raise BadInput(f"takes 1 to {LONGEST_NAME} printable characters", where="name")
    if recipe.base is not None and _is_path(recipe.base):
        recipe = recipe.model_copy(update={"base": str(server_path(recipe.base, folder=True))})
    plain = recipe.model_dump(mode="json")
    if not Generator.objects.filter(name=name).exists():  # or the name would stay with a tuning that cannot begin
        check_stories_divide(Path(corpus.path), recipe)
    try:
        with transaction.atomic():
            if (row := Generator.objects.filter(name=name).select_related("job").first()) is None:
                return _made(name, corpus, plain, created_by)
    except IntegrityError:  # another request was quicker
        row = Generator.objects.select_related("job").get(name=name)
    if row.corpus_id != corpus.pk or row.recipe != plain:
        raise DomainError("name_taken", f"The generator {name!r} has another corpus or recipe.")
    return _gone_on(row, created_by)


def _made(name: str, corpus: Corpus, recipe: dict[str, Any], created_by: User | None) -> Generator:
    row = Generator(name=name, corpus=corpus, base=recipe["base"] or "", recipe=recipe, created_by=created_by)
    row.job = _queued(row, created_by)
    row.save(force_insert=True)
    return row


def _gone_on(row: Generator, created_by: User | None) -> Generator:
    with transaction.atomic():
        job = Job.objects.select_for_update(of=("self",)).get(pk=row.job_id)
        if job.state in (JobState.FAILED, JobState.CANCELLED):
            follower = _queued(row, created_by)
            Generator.objects.filter(pk=row.pk, job=job).update(job=follower)
    row.refresh_from_db()
    return row


def _queued(row: Generator, created_by: User | None) -> Job:
    return enqueue(TUNE_GENERATOR, {"generator": str(row.pk)}, queue="training", created_by=created_by)


def _is_path(base: str) -> bool:
    return base.startswith(("/", "~", ".")) or Path(base).exists()


def sampling_create(
    *, policy: Policy, sampling: Sampling, classifier: Classifier | None = None, created_by: User | None = None
) -> Job:
    """A job that samples completions through the classifier, or the policy's serving one, at its threshold.

    Raises DomainError `no_serving_classifier` or `classifier_not_calibrated`, and `invalid` or BadInput for what is not
    there; then nothing is written.
    """
    classifier = filter_of(policy, classifier)
    check_chosen(sampling.generator)
    check_key_variables(sampling.model_dump(mode="json"))
    prompts = sampling.prompts
    if prompts.path:
        file_format(prompts)
        real = str(server_path(prompts.path, folder=False))
        sampling = sampling.model_copy(update={"prompts": prompts.model_copy(update={"path": real})})
    if prompts.round is not None and not Round.objects.filter(pk=prompts.round, policy=policy).exists():
        raise _wrong("prompts.round", f"{policy} has no such round")
    if sampling.corpus is not None and not Corpus.objects.filter(pk=sampling.corpus).exists():
        raise _wrong("corpus", "there is no such corpus")
    args = {
        "policy": str(policy.pk),
        "classifier": str(classifier.pk),
        "threshold": classifier.threshold,
        "sampling": sampling.model_dump(mode="json"),
    }
    with transaction.atomic():
        return enqueue(SAMPLE_COMPLETIONS, args, queue="generation", created_by=created_by)


def filter_of(policy: Policy, classifier: Classifier | None) -> Classifier:
    """The classifier named, or the policy's serving one. Raises DomainError where it cannot filter for the policy."""
    found = classifier or serving_classifier(policy.pk)
    if found is None:
        raise DomainError(
            "no_serving_classifier", f"No classifier has been promoted for {policy}; promote one, or name one."
        )
    if found.policy_id != policy.pk:
        raise _wrong("classifier", f"is of another policy than {policy}")
    if found.threshold is None:
        raise DomainError("classifier_not_calibrated", f"{found.name} has no threshold yet.")
    if found.artifact_id is None:
        raise DomainError("classifier_not_trained", f"{found.name} has no weights yet.")
    return found


def generator_sample(
    *,
    generator: Generator,
    policy: Policy,
    prompts: Sequence[str],
    classifier: Classifier | None,
    copies: int = 1,
    tries: int = MAX_TRIES,
    seed: int = 0,
) -> list[list[SampledText]]:
    """`copies` samples for each prompt: the first of at most `tries` proposals that `classifier` accepts (by
    `filter_of`), or, without one, the first proposal.

    Nothing is kept. Raises DomainError `generator_not_tuned`, `invalid` for more than MAX_PROPOSALS, `unavailable`
    while other requests sample, or what the engine raises.
    """
    most = len(prompts) * copies * (1 if classifier is None else tries)
    if most > MAX_PROPOSALS:
        raise _wrong("tries", f"these may be {most:,} proposals, at most {MAX_PROPOSALS:,} are made in one request")
    if not generator.ready:
        raise DomainError("generator_not_tuned", f"{generator.name} is {generator.state}.")
    source = replace(_loaded(generator), rules=policy.rules.snippet_rules)
    asked = [prompt for prompt in prompts for _ in range(copies)]
    with _Turn():
        if classifier is None:
            found = [SampledText(text, 1, None, None) for (text,) in _complete(source, asked, seed)]
        else:
            assert classifier.threshold is not None
            scorer = scorer_at_hand(classifier)
            drawn = rejection_sample(asked, source, scorer, classifier.threshold, seed=seed, max_draws=tries)
            found = [SampledText(one.completion, one.draws, *_scores(one.logit), one.rejected) for one in drawn]
    return [found[start : start + copies] for start in range(0, len(found), copies)]


def _complete(source: CausalLMGenerator, prompts: Sequence[str], seed: int) -> list[list[str]]:
    drawn = source.complete(prompts, 1, seed=seed)
    if not all(text for (text,) in drawn):
        raise GeneratorError("the generator ended at once, several times over", permanent=False)
    return drawn


def _scores(logit: float) -> tuple[float | None, float | None]:
    if math.isnan(logit):
        return None, None
    return (1 / (1 + math.exp(-logit)) if logit > -700 else 0.0), logit


class _Turn:
    """One request samples at a time: torch's chance is the process' own, and so are its threads."""

    def __enter__(self) -> None:
        if not _sampling.acquire(timeout=WAIT_SECONDS):
            raise DomainError("unavailable", "Other requests are sampling; try again soon.", retry_after=WAIT_SECONDS)

    def __exit__(self, *_: object) -> None:
        _sampling.release()


def _loaded(row: Generator) -> CausalLMGenerator:
    with _loading:
        return _model(row.pk, row.artifact.sha256 if row.artifact else "")


@lru_cache(maxsize=1)
def _model(key: Any, digest: str) -> CausalLMGenerator:
    # torch and transformers take seconds to import: only a process that samples pays for them.
    from engine.generation.causal_lm import make_causal_lm
    from engine.snippets import SnippetRules
    from workers.generators import weights_of

    folder = weights_of(Generator.objects.select_related("artifact").get(pk=key))
    return make_causal_lm(SnippetRules(), {"model": str(folder)})


def _wrong(field: str, message: str) -> DomainError:
    return DomainError(
        "invalid", f"{field}: {message}", errors=[FieldError(tuple(field.split(".")), "invalid", message)]
    )
