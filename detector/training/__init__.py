"""Training: fit a head on labelled embeddings and calibrate it on rows that its models did not see.

The final model is fitted on all rows. Its calibration comes from one model per fold: each model scores the fold that
it has not seen, and no group (system, speaker or source) is in two folds. Where a risk is to be certified on rows, one
more fold takes no part in any of this and serves only the certificate.

- :mod:`config`: the settings of a fit
- :mod:`crossfit`: several models over parts of the rows, and the logits of the part that each has not seen
- :mod:`search`: the penalties that are tried on the folds, and the choice among them
- :mod:`certificate`: the reject threshold of a promise, on rows of a fold or over all systems and sources
- :mod:`fitting`: the fit itself, from labelled rows to a head
- :mod:`leave_out`: error rates on synthesisers and sources that were left out
- :mod:`report`: the report of a fit
"""
