"""Stand-ins for the ASVspoof challenges, in the order of `CORPORA`."""

from __future__ import annotations

from tests.support.corpora.stand_in import StandIn, audio

ASVSPOOF = {
    "asvspoof2019-la": StandIn(
        {
            "LA/ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.train.trn.txt": (
                "LA_0079 LA_T_1138215 - - bonafide\nLA_0079 LA_T_1004644 - A01 spoof\n"
            ),
            "LA/ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.dev.trl.txt": (
                "LA_0069 LA_D_1047731 - - bonafide\nLA_0069 LA_D_1000265 - A06 spoof\n"
            ),
            "LA/ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.eval.trl.txt": (
                "LA_0039 LA_E_2834763 - A11 spoof\nLA_0014 LA_E_5013670 - - bonafide\n"
            ),
            "LA/README.LA.txt": "hello",
            **audio(
                *(f"LA/ASVspoof2019_LA_train/flac/LA_T_{number}.flac" for number in (1138215, 1004644)),
                *(f"LA/ASVspoof2019_LA_dev/flac/LA_D_{number}.flac" for number in (1047731, 1000265)),
                *(f"LA/ASVspoof2019_LA_eval/flac/LA_E_{number}.flac" for number in (2834763, 5013670)),
            ),
        },
        {
            "LA/ASVspoof2019_LA_train/flac/LA_T_1138215.flac": (
                *("bonafide", "train", None),
                *("LA_0079", "vctk", "en", None),
            ),
            "LA/ASVspoof2019_LA_train/flac/LA_T_1004644.flac": ("spoof", "train", "A01", "LA_0079", "vctk", "en", None),
            "LA/ASVspoof2019_LA_dev/flac/LA_D_1047731.flac": ("bonafide", "dev", None, "LA_0069", "vctk", "en", None),
            "LA/ASVspoof2019_LA_dev/flac/LA_D_1000265.flac": ("spoof", "dev", "A06", "LA_0069", "vctk", "en", None),
            "LA/ASVspoof2019_LA_eval/flac/LA_E_2834763.flac": ("spoof", "eval", "A11", "LA_0039", "vctk", "en", None),
            "LA/ASVspoof2019_LA_eval/flac/LA_E_5013670.flac": ("bonafide", "eval", None, "LA_0014", "vctk", "en", None),
        },
    ),
    "asvspoof2021-la": StandIn(
        {
            "keys/LA/CM/trial_metadata.txt": (
                "LA_0009 LA_E_9332881 alaw ita_tx A07 spoof notrim eval\n"
                "LA_0020 LA_E_1332881 none - bonafide bonafide notrim progress\n"
                "LA_0020 LA_E_2332881 opus mad_tx bonafide bonafide trim hidden\n"
            ),
            **audio(*(f"ASVspoof2021_LA_eval/flac/LA_E_{number}332881.flac" for number in (9, 1, 2))),
        },
        {
            "ASVspoof2021_LA_eval/flac/LA_E_9332881.flac": ("spoof", "eval", "A07", "LA_0009", "vctk", "en", "alaw"),
            "ASVspoof2021_LA_eval/flac/LA_E_1332881.flac": (
                *("bonafide", "progress", None),
                *("LA_0020", "vctk", "en", "none"),
            ),
            "ASVspoof2021_LA_eval/flac/LA_E_2332881.flac": (
                *("bonafide", "hidden", None),
                *("LA_0020", "vctk", "en", "opus"),
            ),
        },
    ),
    "asvspoof2021-df": StandIn(
        {
            "keys/DF/CM/trial_metadata.txt": (
                "LA_0023 DF_E_2000011 nocodec asvspoof A14 spoof notrim progress traditional_vocoder - - - -\n"
                "TEF2 DF_E_2000013 low_m4a vcc2020 Task1-team20 spoof notrim eval neural_vocoder_nonautoregressive "
                "Task1 team20 FF E\n"
                "TGF1 DF_E_2000024 mp3m4a vcc2020 Task2-team12 spoof notrim eval traditional_vocoder Task2 team12 FF G"
                "\n"
                "VCC2TF1 DF_E_2000026 high_ogg vcc2018 - bonafide notrim eval bonafide - - - -\n"
            ),
            # the archive comes in four parts, each with the whole path
            **audio(
                "part00/ASVspoof2021_DF_eval/flac/DF_E_2000011.flac",
                "part00/ASVspoof2021_DF_eval/flac/DF_E_2000013.flac",
                "part01/ASVspoof2021_DF_eval/flac/DF_E_2000024.flac",
                "part01/ASVspoof2021_DF_eval/flac/DF_E_2000026.flac",
            ),
        },
        {
            "part00/ASVspoof2021_DF_eval/flac/DF_E_2000011.flac": (
                *("spoof", "progress", "A14"),
                *("LA_0023", "vctk", "en", "nocodec"),
            ),
            "part00/ASVspoof2021_DF_eval/flac/DF_E_2000013.flac": (
                *("spoof", "eval", "Task1-team20"),
                *("TEF2", "vcc2020", "en", "low_m4a"),
            ),
            "part01/ASVspoof2021_DF_eval/flac/DF_E_2000024.flac": (
                *("spoof", "eval", "Task2-team12"),
                *("TGF1", "vcc2020", "de", "mp3m4a"),
            ),
            "part01/ASVspoof2021_DF_eval/flac/DF_E_2000026.flac": (
                *("bonafide", "eval", None),
                *("VCC2TF1", "vcc2018", "en", "high_ogg"),
            ),
        },
    ),
    "asvspoof5": StandIn(
        {
            # no header, and spaces despite .tsv
            "ASVspoof5.train.tsv": "T_4850 T_0000000000 F - - - AC3 A05 spoof -\n",
            "ASVspoof5.dev.track_1.tsv": (
                "D_0062 D_0000000001 F - - - AC1 A11 spoof -\nD_0461 D_0000000190 M - - - - bonafide bonafide -\n"
            ),
            "ASVspoof5.eval.track_1.tsv": "E_1607 E_0009538969 M C05 2 E_0009486171 AC1 A26 spoof -\n",
            **audio(
                "ASVspoof5_train/flac_T/T_0000000000.flac",
                "ASVspoof5_dev/flac_D/D_0000000001.flac",
                "ASVspoof5_dev/flac_D/D_0000000190.flac",
                "ASVspoof5_eval/flac_E_eval/E_0009538969.flac",
            ),
        },
        {
            "ASVspoof5_train/flac_T/T_0000000000.flac": ("spoof", "train", "A05", "T_4850", "mls", "en", None),
            "ASVspoof5_dev/flac_D/D_0000000001.flac": ("spoof", "dev", "A11", "D_0062", "mls", "en", None),
            "ASVspoof5_dev/flac_D/D_0000000190.flac": ("bonafide", "dev", None, "D_0461", "mls", "en", None),
            "ASVspoof5_eval/flac_E_eval/E_0009538969.flac": ("spoof", "eval", "A26", "E_1607", "mls", "en", "C05"),
        },
    ),
}
