"""Stage `ingest`: stories of the round's corpus become corpus snippets. Memory does not grow with the corpus."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.conf import settings

from engine.classifiers import check_encoder, token_counter
from engine.corpus import CorpusSnippet, Tally, corpus_bytes, read_stories, sample_snippets
from engine.snippets import split_of
from webapi.models import Corpus, Round, Snippet, Source, Story
from workers.jobs import JobRun, chunked
from workers.round_settings import round_settings


def ingest(run: JobRun) -> dict[str, Any]:
    """Draws snippets from the corpus. Run again it draws the same, and the unique hash keeps them single.

    Raises MissingModel or BadInput for an encoder that could not be trained: labels would be bought for nothing.
    """
    round_, wanted = run.round, round_settings(run.round.config)
    check_encoder(wanted.training)
    corpus, folder, tally = round_.corpus, Path(round_.corpus.path), Tally()
    sampled = sample_snippets(
        read_stories(folder, max_bytes=settings.MAX_STORY_BYTES),
        round_.policy.rules,
        limit=wanted.sizes.corpus_snippets,
        seed=round_.seed,
        count_tokens=token_counter(wanted.training.encoder),
        tally=tally,
        total_chars=corpus_bytes(folder),
        progress=run.progress,
    )
    for chunk in chunked(sampled, 500):
        _write(chunk, round_)
    corpus.counts = asdict(tally)
    corpus.save(update_fields=["counts"])
    return {"stories": tally.stories, "snippets": tally.kept, "refused": sum(tally.refused.values())}


def _write(chunk: list[CorpusSnippet], round_: Round) -> None:
    stories = _stories(round_.corpus, {item.story for item in chunk})
    rows = [
        Snippet(
            policy=round_.policy,
            prompt=item.snippet.prompt,
            completion=item.snippet.completion,
            content_hash=item.snippet.content_hash,
            root_hash=item.snippet.content_hash,
            split=split_of(item.snippet.content_hash),
            source=Source.CORPUS,
            story=stories[item.story],
            details={"enriched": item.enriched, "position": item.position},
        )
        for item in chunk
    ]
    Snippet.objects.bulk_create(rows, ignore_conflicts=True)


def _stories(corpus: Corpus, names: set[str]) -> dict[str, Story]:
    Story.objects.bulk_create([Story(corpus=corpus, name=name) for name in sorted(names)], ignore_conflicts=True)
    return {story.name: story for story in corpus.stories.filter(name__in=names)}
