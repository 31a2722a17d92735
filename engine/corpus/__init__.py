"""Stories into snippets: reading, cleaning, random windows, filters, enrichment (paper, A.1.3 and A.1.4)."""

from engine.corpus.sampling import CorpusSnippet, Tally, sample_snippets
from engine.corpus.stories import Story, check_stories, corpus_bytes, read_stories

__all__ = ["CorpusSnippet", "Story", "Tally", "check_stories", "corpus_bytes", "read_stories", "sample_snippets"]
