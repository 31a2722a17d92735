"""New votes under an old model: posteriors of some items at once, without estimating anything anew."""

from __future__ import annotations

import numpy as np

from engine.aggregation.aggregated import Aggregated, ConfusionModel, decide
from engine.aggregation.em import Parameters, Votes, prepare
from engine.aggregation.votes import VoteTable
from engine.errors import BadInput


def update_items(model: ConfusionModel, table: VoteTable) -> Aggregated:
    """The consensus of the table's items under `model`, exactly its E-step. O(votes in the table * log(annotators)).

    `table` holds all votes of the items in question and no others, so a new label costs what its item's votes cost.
    Annotators' codes mean whom they meant when the model was estimated (`vote_table(..., annotators=...)` sees to it);
    newcomers count as the model's prior says. Raises BadInput for other choices than the model's in number.
    """
    votes = prepare(table)
    full = votes.on_all_items(votes.posterior(parameters_for(votes, model)))
    return Aggregated(decide(full), full, model)


def parameters_for(votes: Votes, model: ConfusionModel) -> Parameters:
    """The model's parameters for the annotators of `votes`."""
    if model.priors.size != votes.choices:
        raise BadInput(f"the model knows {model.priors.size} choices, the votes {votes.choices}", where="model")
    confusion = model.newcomers[votes.staff.astype(np.int64)]
    place = np.searchsorted(model.annotators, votes.annotators)
    known = place < model.annotators.size
    known[known] = model.annotators[place[known]] == votes.annotators[known]
    confusion[known] = model.confusion[place[known]]
    return Parameters(confusion.transpose(0, 2, 1).copy(), model.priors)
