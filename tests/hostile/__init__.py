"""Hostile input: files and flags that nobody should give, thousands of them, and what has to hold for each.

values, mutate    hostile values, and how a valid document or file is damaged
world             the valid files: a tiny checkpoint, a result of every kind, a batch, a solver's state
case              one case: files laid over the world, and a command line
inputs, saved, flags, places    strategies of cases, a function for each kind; ``kinds`` lists them
limits, judge     runs a case within bounds, and says what it broke
corpus            cases that are tried first: each was once found failing
test_hostile      the fast form, in ``make test``
worker, __main__  the long form, ``make hostile``
"""
