"""Stand-ins for corpora of partial spoofs, in the order of `CORPORA`, and the parts that they must give."""

from __future__ import annotations

from tests.support.corpora.stand_in import StandIn, audio

PARTIAL = {
    "partialspoof": StandIn(
        {
            "database/protocols/PartialSpoof_LA_cm_protocols/PartialSpoof.LA.cm.train.trl.txt": (
                "LA_0079 CON_T_0000029 - CON spoof\nLA_0079 LA_T_1138215 - - bonafide\n"
            ),
            "database/protocols/PartialSpoof_LA_cm_protocols/PartialSpoof.LA.cm.dev.trl.txt": (
                "LA_0069 CON_D_0000000 - CON spoof\nLA_0069 LA_D_1047731 - - bonafide\n"
            ),
            "label_PartialSpoof_train.txt": (
                "CON_T_0000029 2.5000 spoof 0.0000-0.8000-bonafide 0.8000-1.3500-spoof 1.3500-2.5000-bonafide\n"
                "LA_T_1138215 3.0000 bonafide 0.0000-3.0000-bonafide\n"
            ),
            **audio(
                "database/train/con_wav/CON_T_0000029.wav",
                "database/train/con_wav/LA_T_1138215.wav",
                "database/dev/con_wav/CON_D_0000000.wav",
                "database/dev/con_wav/LA_D_1047731.wav",
            ),
        },
        {
            "database/train/con_wav/CON_T_0000029.wav": ("spoof", "train", "CON", "LA_0079", "vctk", "en", None),
            "database/train/con_wav/LA_T_1138215.wav": ("bonafide", "train", None, "LA_0079", "vctk", "en", None),
            "database/dev/con_wav/CON_D_0000000.wav": ("spoof", "dev", "CON", "LA_0069", "vctk", "en", None),
            "database/dev/con_wav/LA_D_1047731.wav": ("bonafide", "dev", None, "LA_0069", "vctk", "en", None),
        },
    ),
    "had": StandIn(
        {
            "HAD/HAD_train/HAD_train_label.txt": (
                "HAD_train_00000001 0.00-1.43-T/1.43-2.02-F/2.02-4.03-T 0\nHAD_train_00000002 0.00-3.10-T 1\n"
            ),
            "HAD/HAD_test/HAD_test_label.txt": "HAD_test_00000003 0.00-0.50-F/0.50-2.00-T 0\n",
            **audio(
                "HAD/HAD_train/conbine/HAD_train_00000001.wav",
                "HAD/HAD_train/conbine/HAD_train_00000002.wav",
                "HAD/HAD_test/test/HAD_test_00000003.wav",
            ),
        },
        {
            "HAD/HAD_train/conbine/HAD_train_00000001.wav": ("spoof", "train", None, None, "aishell3", "zh", None),
            "HAD/HAD_train/conbine/HAD_train_00000002.wav": ("bonafide", "train", None, None, "aishell3", "zh", None),
            "HAD/HAD_test/test/HAD_test_00000003.wav": ("spoof", "eval", None, None, "aishell3", "zh", None),
        },
    ),
    "llama-partial-spoof": StandIn(
        {
            "LlamaPartialSpoof/label_R01TTS.0.a.txt": (
                "dev-clean_1272_128104_000003_000003 2.1000 bonafide 0.0000-2.1000-bonafide\n"
                "dev01-yourtts-full_3000_15664_000010_000001 10.9930 spoof 0.0000-10.9930-spoof\n"
                "dev01-yourtts-partial-cf_8842_304647_000034_000001 1.9740 spoof 0.0000-0.8510-bonafide "
                "0.8510-1.1910-spoof 1.1910-1.9740-bonafide\n"
            ),
            "LlamaPartialSpoof/label_R01TTS.0.b.txt": (
                "dev01-cosyvoice-partial-cp_1272_128104_000005_000014 5.6150 spoof 0.0000-0.3800-bonafide "
                "0.3800-1.8100-spoof 1.8100-5.6150-bonafide\n"
            ),
            "LlamaPartialSpoof/README.txt": "hello",
            **audio(
                "LlamaPartialSpoof/R01TTS.0.a/dev-clean_1272_128104_000003_000003.wav",
                "LlamaPartialSpoof/R01TTS.0.a/dev01-yourtts-full_3000_15664_000010_000001.wav",
                "LlamaPartialSpoof/R01TTS.0.a/dev01-yourtts-partial-cf_8842_304647_000034_000001.wav",
                "LlamaPartialSpoof/R01TTS.0.b/dev01-cosyvoice-partial-cp_1272_128104_000005_000014.wav",
            ),
        },
        {
            "LlamaPartialSpoof/R01TTS.0.a/dev-clean_1272_128104_000003_000003.wav": (
                *("bonafide", None, None, "1272"),
                *("libritts", "en", None),
            ),
            "LlamaPartialSpoof/R01TTS.0.a/dev01-yourtts-full_3000_15664_000010_000001.wav": (
                *("spoof", None, "yourtts", "3000"),
                *("libritts", "en", None),
            ),
            "LlamaPartialSpoof/R01TTS.0.a/dev01-yourtts-partial-cf_8842_304647_000034_000001.wav": (
                *("spoof", None, "yourtts", "8842"),
                *("libritts", "en", None),
            ),
            "LlamaPartialSpoof/R01TTS.0.b/dev01-cosyvoice-partial-cp_1272_128104_000005_000014.wav": (
                *("spoof", None, "cosyvoice", "1272"),
                *("libritts", "en", None),
            ),
        },
    ),
}

PARTS = {
    "partialspoof": {
        "database/train/con_wav/CON_T_0000029.wav": [
            *((0.0, 0.8, "bonafide"), (0.8, 1.35, "spoof")),
            (1.35, 2.5, "bonafide"),
        ],
        "database/train/con_wav/LA_T_1138215.wav": [(0.0, 3.0, "bonafide")],
    },
    "had": {
        "HAD/HAD_train/conbine/HAD_train_00000001.wav": [
            *((0.0, 1.43, "bonafide"), (1.43, 2.02, "spoof")),
            (2.02, 4.03, "bonafide"),
        ],
        "HAD/HAD_train/conbine/HAD_train_00000002.wav": [(0.0, 3.1, "bonafide")],
        "HAD/HAD_test/test/HAD_test_00000003.wav": [(0.0, 0.5, "spoof"), (0.5, 2.0, "bonafide")],
    },
    "llama-partial-spoof": {
        "LlamaPartialSpoof/R01TTS.0.a/dev-clean_1272_128104_000003_000003.wav": [(0.0, 2.1, "bonafide")],
        "LlamaPartialSpoof/R01TTS.0.a/dev01-yourtts-full_3000_15664_000010_000001.wav": [(0.0, 10.993, "spoof")],
        "LlamaPartialSpoof/R01TTS.0.a/dev01-yourtts-partial-cf_8842_304647_000034_000001.wav": [
            *((0.0, 0.851, "bonafide"), (0.851, 1.191, "spoof")),
            (1.191, 1.974, "bonafide"),
        ],
        "LlamaPartialSpoof/R01TTS.0.b/dev01-cosyvoice-partial-cp_1272_128104_000005_000014.wav": [
            *((0.0, 0.38, "bonafide"), (0.38, 1.81, "spoof")),
            (1.81, 5.615, "bonafide"),
        ],
    },
}
"""Parts by path, written by hand; the `dev` split of PartialSpoof has labels of cells, which a test writes."""
