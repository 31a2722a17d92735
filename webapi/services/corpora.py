"""Corpora: folders of stories on the server. They are read by the ingest stage of a round, not here."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.db import IntegrityError, transaction

from engine.corpus import check_stories
from engine.errors import BadInput
from webapi.errors import DomainError
from webapi.models import Corpus


def corpus_create(*, name: str, path: str, simulated: bool = False) -> Corpus:
    """The corpus of that name over that folder; asked for twice, it is one.

    Raises DomainError `name_taken` where the name stands for another folder, `path_not_allowed`, or BadInput where
    there is no such folder, it holds no story, or its stories cannot be read.
    """
    real = server_path(path, folder=True)
    check_stories(real, max_bytes=settings.MAX_STORY_BYTES)
    folder = str(real)
    try:
        with transaction.atomic():
            corpus, _ = Corpus.objects.get_or_create(name=name, defaults={"path": folder, "simulated": simulated})
    except IntegrityError:
        corpus = Corpus.objects.get(name=name)
    if corpus.path != folder:
        raise DomainError("name_taken", f"The corpus {name!r} stands for another folder.")
    return corpus


def server_path(path: str, *, folder: bool) -> Path:
    """The real path of a file or folder on the server that requests may name.

    Everything under `GAUNTLET_HOME` and the settings' `DATA_ROOTS` may be named; embedded and without `DATA_ROOTS`,
    everything that the server can read, as the person at the keyboard can.
    """
    if "\x00" in path:
        raise BadInput("contains a null byte", where="path")
    try:
        real = Path(path).expanduser().resolve()
        real.exists()
    except (OSError, RuntimeError) as error:  # too long a name, links in a circle, no such home
        raise BadInput(f"is no path: {getattr(error, 'strerror', None) or error}", where="path") from error
    roots = [Path(str(root)).resolve() for root in (*settings.DATA_ROOTS, settings.GAUNTLET_HOME)]
    anywhere = settings.EMBEDDED and not settings.DATA_ROOTS
    if not anywhere and not any(real.is_relative_to(root) for root in roots):
        raise DomainError("path_not_allowed", f"{path} is not under a data root of this server (DATA_ROOTS).")
    if not (real.is_dir() if folder else real.is_file()):
        raise BadInput(f"there is no {'folder' if folder else 'file'} at this path", where=path)
    return real
