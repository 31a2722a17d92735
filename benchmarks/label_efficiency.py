"""What is a label worth that a strategy chose? Learning curves of every strategy on real judged text, against random.

Tasks: comments of toxic_spans, a failure being what its crowd agrees is toxic and harmless what it cannot agree on (it
calls next to nothing harmless); the same with failures drawn down to 5 %; and hatemoji_build in its own order: labels
from round 5 tried on round 6, from rounds 5 and 6 on round 7. Peers: random choice, and small-text 1.4.1's strategies.
All share MiniLM's sentence embeddings, one logistic head, the pool and the initial labels of their seed: 25 labels,
then 20 batches of 25. Measured on held-out text after each batch: the area under the ROC curve; the failures accepted
at the threshold that accepts 61 % of harmless text (KL divergence 0.5, were all prompts alike); failures found. A
curve's figure is its mean height. Intervals are over seeds, differences from random are paired by seed; "holm" marks
what holds for all strategies of a task together. Greedy coreset, contrastive and discriminative of small-text see 1,000
texts of the pool, drawn anew each batch, by its own wrapper: else they take most of the time.

Needs ../shared/data (or --data DIR) with judgements/toxic_spans and rounds/hatemoji_build; exits where it is absent.
Curves (JSON), figures (CSV) and charts (SVG) go into var/benchmarks/label_efficiency, or --out DIR; embeddings are kept
beside. `--resume` runs only what has no curve there, `--redraw` nothing: it makes figures and charts again.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from _common import finish, machine  # noqa: E402
from _label_figures import Found, Results, append_run, page, read_runs, summarise, tables, write_csv  # noqa: E402
from _label_pictures import curves_chart, differences_chart  # noqa: E402
from _label_tasks import SOURCES, task_named, tasks  # noqa: E402
from _learning import STEPS, learn  # noqa: E402
from _pages import PAGE, fill  # noqa: E402
from _pictures import save  # noqa: E402
from _strategies import ALIKE, strategies  # noqa: E402

DATA = ROOT.parent / "shared" / "data"
WORK = ROOT / "var" / "benchmarks"
SEEDS, QUICK_SEEDS, QUICK_STEPS, QUICK_TEXTS = 10, 2, 3, 700
RUNS = "runs.jsonl"
FORK = get_context("fork")
"""Importing small-text takes seconds: once is enough."""


class Size(NamedTuple):
    """How much is run."""

    seeds: int
    steps: int
    texts: int | None
    """Comments, and texts of a round, that are read; None for all."""


def main() -> None:
    """Runs every strategy on every task and seed, prints the tables, writes what is asked for."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="2 seeds, 3 batches, 700 texts of each source")
    options.add_argument("--seeds", type=int, default=SEEDS)
    options.add_argument("--data", type=Path, default=DATA)
    options.add_argument("--only", choices=sorted(SOURCES), help="this source's tasks alone")
    options.add_argument("--out", type=Path, default=WORK / "label_efficiency")
    options.add_argument("--resume", action="store_true", help="keep the curves that an earlier run left there")
    options.add_argument("--redraw", action="store_true", help="figures and charts of the curves there")
    options.add_argument("--docs", type=Path, help="also put tables and charts into this folder of documentation")
    chosen = options.parse_args()
    if chosen.redraw:
        write(read_runs(chosen.out / RUNS), chosen.out, chosen.docs)
        return
    if not (chosen.data / "judgements" / "toxic_spans").is_dir():
        sys.exit(f"no real data in {chosen.data}: nothing measured")
    size = Size(QUICK_SEEDS, QUICK_STEPS, QUICK_TEXTS) if chosen.quick else Size(chosen.seeds, STEPS, None)
    began = time.monotonic()
    sources = [chosen.only] if chosen.only else list(SOURCES)
    with ProcessPoolExecutor(1, mp_context=FORK) as apart:  # torch's threads do not survive the forks to come
        names = apart.submit(names_of, sources, chosen.data, size).result()
    print(f"embeddings are there after {time.monotonic() - began:.0f} s", file=sys.stderr)
    chosen.out.mkdir(parents=True, exist_ok=True)
    if not chosen.resume:
        (chosen.out / RUNS).unlink(missing_ok=True)
    found = run(names, chosen.data, size, chosen.out / RUNS)
    results = write(found, chosen.out, chosen.docs)
    report(results, size, time.monotonic() - began, quick=chosen.quick)


def names_of(sources: Sequence[str], data: Path, size: Size) -> list[str]:
    """The names of the sources' tasks; embeds what is not embedded yet."""
    return [name for source in sources for name in tasks(source, data, WORK, size.texts)]


def write(found: Sequence[Found], out: Path, docs: Path | None) -> Results:
    """Prints the tables; figures and charts go into the folder. Seeds that some strategy has not run are left out."""
    names = list(strategies())
    results = summarise(sorted(whole(found, names), key=lambda one: (_place(one.task), names.index(one.strategy))))
    for line in tables(results):
        print(line)
    for name, others in ALIKE.items():
        print(f"{' and '.join(others)} choose what {name} does")
    write_csv(results, out / "label-efficiency.csv")
    if docs:
        fill(docs / PAGE, "label_efficiency", page(results))
    for folder in (out, docs / "images") if docs else (out,):
        save(curves_chart(results), folder / "label-efficiency-curves.svg")
        save(differences_chart(results), folder / "label-efficiency-differences.svg")
    return results


def whole(found: Sequence[Found], names: Sequence[str]) -> list[Found]:
    """The curves of those tasks and seeds for which every strategy has one."""
    count = Counter((one.task, one.seed) for one in found if one.strategy in names)
    return [one for one in found if one.strategy in names and count[one.task, one.seed] == len(names)]


def _place(task: str) -> tuple[int, int]:
    """Sources in their order, then tasks by the length of their names, which say what was added."""
    return next(at for at, source in enumerate(SOURCES) if task.startswith(source)), len(task)


def run(names: list[str], data: Path, size: Size, runs: Path) -> list[Found]:
    """Every strategy on every task and seed that has no curve in the file, on all cores. All curves, old and new."""
    jobs = [(task, name, seed) for seed in range(size.seeds) for task in names for name in strategies()]
    found = read_runs(runs)
    runs.write_text("")  # a line that a kill cut off goes
    for one in found:
        append_run(one, runs)
    there = {one[:3] for one in found}
    cores = int(str(machine()["cores"]))
    with ProcessPoolExecutor(cores, mp_context=FORK) as pool:
        futures = [pool.submit(curve_of, *job, data, size) for job in jobs if job not in there]
        try:
            for done in as_completed(futures):
                found.append(done.result())
                append_run(found[-1], runs)
                if len(found) % 50 == 0:
                    print(f"{len(found)} of {len(jobs)} curves", file=sys.stderr, flush=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return found


def curve_of(task: str, strategy: str, seed: int, data: Path, size: Size) -> Found:
    """One curve, in a process of its own."""
    began = time.process_time()
    curve = learn(task_named(task, data, WORK, size.texts), strategies()[strategy], seed, steps=size.steps)
    return Found(task, strategy, seed, curve, time.process_time() - began)


def report(results: Results, size: Size, seconds: float, *, quick: bool) -> None:
    """The last line: of each task the best of ours, the best of small-text's, and random, by area under the curve."""
    ours, peer, chance = (dict(_best(results, kind)) for kind in ("ours", "peer", "random"))
    finish(
        "label_efficiency",
        ours=ours,
        peer={"small-text": peer, "random": chance},
        ratio=None,
        target=None,
        quick=quick,
        seeds=size.seeds,
        labels=size.steps,
        seconds=round(seconds),
    )


def _best(results: Results, kind: str) -> Iterator[tuple[str, dict[str, object]]]:
    for task, rows in results.items():
        mine = [(row.area["auc"].mean, name) for name, row in rows.items() if row.kind == kind]
        height, name = max(mine)
        yield task, {"strategy": name, "auc_area": round(height, 4), "found": round(rows[name].last["found"].mean, 1)}


if __name__ == "__main__":
    main()
