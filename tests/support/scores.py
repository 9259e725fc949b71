"""Scores that several tests of the metrics share, and what public packages give for them."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

QUANTILES = norm.ppf((np.arange(20_000) + 0.5) / 20_000)  # a unit normal, without chance


def untied(
    n_bonafide: int, n_spoof: int, bonafide_mean: float, spoof_mean: float, scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping normal scores, all distinct, that depend on no generator of random numbers."""
    golden = (5**0.5 - 1) / 2
    bonafide = norm.ppf((np.arange(1, n_bonafide + 1) * golden) % 1) + bonafide_mean
    spoof = 1.3 * norm.ppf((np.arange(1, n_spoof + 1) * golden + 0.5) % 1) + spoof_mean
    return scale * bonafide, scale * spoof


# What these packages were run to give on 2026-11-23 for the scores of `untied`, `p_spoof = 1 / (1 + exp(score))`:
# - asvspoof5: github.com/asvspoof-challenge/asvspoof5 at fe23d305, evaluation-package/calculate_modules.py
#   (compute_eer, compute_mindcf and compute_actDCF with Pspoof 0.05, Cmiss 1, Cfa 10, and calculate_CLLR)
# - pascu: github.com/danoneata/aletheia at 41ca524b, aletheia/metrics.py (compute_eer, compute_ece; spoof = 1)
# - llreval 0.0.3 from PyPI (tarnon_2_eer_cllr_mincllr)
UNTIED = {
    (200, 300, 1.2, -0.7, 1.0): {
        "asvspoof5_eer": 0.20416666666666666,
        "asvspoof5_min_dcf": 0.4919999999999999,
        "asvspoof5_act_dcf": 0.5403333333333333,
        "asvspoof5_cllr": 0.6608956219565959,
        "pascu_eer": 0.20333333333336592,
        "pascu_ece": 0.11628143671998546,
        "llreval_min_cllr": 0.6043390634262703,
    },
    (1000, 90, 2.0, -1.0, 2.5): {
        "asvspoof5_eer": 0.1,
        "asvspoof5_min_dcf": 0.23886666666666656,
        "asvspoof5_act_dcf": 0.3005777777777778,
        "asvspoof5_cllr": 0.46363478868357266,
        "pascu_eer": 0.09999999999999934,
        "pascu_ece": 0.02712985415391795,
        "llreval_min_cllr": 0.31747844086358384,
    },
    (50, 400, 0.3, -0.2, 4.0): {
        "asvspoof5_eer": 0.41625,
        "asvspoof5_min_dcf": 0.878,
        "asvspoof5_act_dcf": 1.0955,
        "asvspoof5_cllr": 2.1581804640242335,
        "pascu_eer": 0.41249999999999554,
        "pascu_ece": 0.3777028621735038,
        "llreval_min_cllr": 0.923880116540661,
    },
}
