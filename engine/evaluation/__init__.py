"""How often a filter still fails: thresholds, rates with intervals, comparisons, the report of a round."""
