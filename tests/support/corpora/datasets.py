"""Stand-ins for the other corpora, for plain folders and for CSV lists, in the order of `CORPORA`."""

from __future__ import annotations

from tests.support.corpora.stand_in import StandIn, audio

DATASETS = {
    "in-the-wild": StandIn(
        {
            "release_in_the_wild/meta.csv": (
                'file,speaker,label\n0.wav,Alec Guinness,spoof\n1.wav,"Guinness, Alec",bona-fide\n'
            ),
            **audio("release_in_the_wild/0.wav", "release_in_the_wild/1.wav"),
        },
        {
            "release_in_the_wild/0.wav": ("spoof", None, None, "Alec Guinness", "in-the-wild", "en", None),
            "release_in_the_wild/1.wav": ("bonafide", None, None, "Guinness, Alec", "in-the-wild", "en", None),
        },
    ),
    "fake-or-real": StandIn(
        audio(
            "for-norm/for-norm/training/real/file1.wav_16k.wav_norm.wav_mono.wav_silence.wav",
            "for-norm/for-norm/validation/fake/file2.wav",
            "for-2sec/for-2seconds/testing/fake/file3.wav_16k.wav_norm.wav_mono.wav_silence.wav_2sec.wav",
            "for-rerec/for-rerecorded/testing/real/recording7.wav_norm_output.wav",
            "for-original/for-original/testing/fake/file16643.mp3",
        ),
        {
            "for-norm/for-norm/training/real/file1.wav_16k.wav_norm.wav_mono.wav_silence.wav": (
                *("bonafide", "train", None, None),
                *("fake-or-real", "en", None),
            ),
            "for-norm/for-norm/validation/fake/file2.wav": ("spoof", "dev", None, None, "fake-or-real", "en", None),
            "for-2sec/for-2seconds/testing/fake/file3.wav_16k.wav_norm.wav_mono.wav_silence.wav_2sec.wav": (
                *("spoof", "eval", None, None),
                *("fake-or-real", "en", None),
            ),
            "for-rerec/for-rerecorded/testing/real/recording7.wav_norm_output.wav": (
                *("bonafide", "eval", None, None),
                *("fake-or-real", "en", None),
            ),
            "for-original/for-original/testing/fake/file16643.mp3": (
                *("spoof", "eval", None, None),
                *("fake-or-real", "en", None),
            ),
        },
        subsets=("for-norm", "for-2sec", "for-rerec", "for-original"),
    ),
    "timit-tts": StandIn(
        audio(
            "TIMIT-TTS/CLEAN/single_speaker/fastpitch/fadg0_si1279.wav",
            "TIMIT-TTS/CLEAN/multi_speaker/vits/speaker_7/mccs0_sx29.wav",
            "VidTIMIT/fadg0/audio/sa1.wav",
        ),
        {
            "TIMIT-TTS/CLEAN/single_speaker/fastpitch/fadg0_si1279.wav": (
                *("spoof", None, "fastpitch"),
                *("ljspeech", "vidtimit", "en", None),
            ),
            "TIMIT-TTS/CLEAN/multi_speaker/vits/speaker_7/mccs0_sx29.wav": (
                *("spoof", None, "vits"),
                *("vits/speaker_7", "vidtimit", "en", None),
            ),
            "VidTIMIT/fadg0/audio/sa1.wav": ("bonafide", None, None, "fadg0", "vidtimit", "en", None),
        },
        inputs=("TIMIT-TTS", "VidTIMIT"),
    ),
    "wavefake": StandIn(
        audio(
            "WaveFake/generated_audio/ljspeech_melgan_large/LJ001-0001_gen.wav",
            "WaveFake/generated_audio/jsut_multi_band_melgan/BASIC5000_0658_gen.wav",
            "WaveFake/generated_audio/common_voices_prompts_from_conformer_fastspeech2_pwg_ljspeech/gen_0.wav",
            "LJSpeech-1.1/wavs/LJ001-0001.wav",
            "jsut_ver1.1/basic5000/wav/BASIC5000_0658.wav",
        ),
        {
            "WaveFake/generated_audio/ljspeech_melgan_large/LJ001-0001_gen.wav": (
                *("spoof", None, "melgan_large"),
                *("ljspeech", "ljspeech", "en", None),
            ),
            "WaveFake/generated_audio/jsut_multi_band_melgan/BASIC5000_0658_gen.wav": (
                *("spoof", None, "multi_band_melgan"),
                *("jsut", "jsut", "ja", None),
            ),
            "WaveFake/generated_audio/common_voices_prompts_from_conformer_fastspeech2_pwg_ljspeech/gen_0.wav": (
                *("spoof", None, "common_voices_prompts_from_conformer_fastspeech2_pwg_ljspeech"),
                *("ljspeech", "ljspeech", "en", None),
            ),
            "LJSpeech-1.1/wavs/LJ001-0001.wav": ("bonafide", None, None, "ljspeech", "ljspeech", "en", None),
            "jsut_ver1.1/basic5000/wav/BASIC5000_0658.wav": ("bonafide", None, None, "jsut", "jsut", "ja", None),
        },
        inputs=("WaveFake", "LJSpeech-1.1", "jsut_ver1.1"),
    ),
    "mlaad": StandIn(
        {
            "mlaad/fake/en/tts_models_en_ljspeech_vits/meta.csv": (
                "path|original_file|language|is_original_language|duration|training_data|model_name|architecture|"
                "transcript\n"
                "./fake/en/tts_models_en_ljspeech_vits/north_01.wav|en_US/by_book/female/mary_ann/north/wavs/north_01."
                'wav|en|True|3.2|ljspeech|vits|vits|"He said ""no | never"" twice."\n'
            ),
            "mlaad/fake/zh-cn/tts_models_zh/meta.csv": (
                "path|original_file|language|is_original_language|duration|training_data|model_name|architecture|"
                "transcript|reference_speaker\n"
                "./fake/zh/tts_models_zh/buddy_07.wav|./de_DE/by_book/mix/buddy/wavs/buddy_07.wav|zh|False|2.5|baker|"
                "tacotron2|tacotron|你好|-\n"
            ),
            **audio(
                "mlaad/fake/en/tts_models_en_ljspeech_vits/north_01.wav",
                "mlaad/fake/zh-cn/tts_models_zh/buddy_07.wav",
                "m-ailabs/en_US/by_book/female/mary_ann/north/wavs/north_01.wav",
                "m-ailabs/en_US/by_book/female/mary_ann/north/wavs/north_02.wav",
                "m-ailabs/de_DE/by_book/mix/buddy/wavs/buddy_07.wav",
            ),
        },
        {
            "mlaad/fake/en/tts_models_en_ljspeech_vits/north_01.wav": (
                *("spoof", None, "vits", None),
                *("m-ailabs", "en", None),
            ),
            "mlaad/fake/zh-cn/tts_models_zh/buddy_07.wav": (
                *("spoof", None, "tacotron2", None),
                *("m-ailabs", "zh-cn", None),
            ),
            "m-ailabs/en_US/by_book/female/mary_ann/north/wavs/north_01.wav": (
                *("bonafide", None, None, "mary_ann"),
                *("m-ailabs", "en", None),
            ),
            "m-ailabs/de_DE/by_book/mix/buddy/wavs/buddy_07.wav": (
                *("bonafide", None, None, None),
                *("m-ailabs", "de", None),
            ),
        },
        inputs=("mlaad", "m-ailabs"),
    ),
    "fakeavceleb": StandIn(
        {
            "FakeAVCeleb_v1.2/meta_data.csv": (
                "source,target1,target2,method,category,type,race,gender,path,\n"
                "id00076,-,-,real,A,RealVideo-RealAudio,African,men,00109.mp4,"
                "FakeAVCeleb/RealVideo-RealAudio/African/men/id00076\n"
                "id00076,-,-,rtvc,B,RealVideo-FakeAudio,African,men,00109_fake.mp4,"
                "FakeAVCeleb/RealVideo-FakeAudio/African/men/id00076\n"
                "id00166,id01637,-,fsgan,C,FakeVideo-RealAudio,Asian (East),women,00010_id01637.mp4,"
                "FakeAVCeleb/FakeVideo-RealAudio/Asian (East)/women/id00166\n"
                "id00076,id00476,10,wav2lip,D,FakeVideo-FakeAudio,African,men,00109_10_id00476_wavtolip.mp4,"
                "FakeAVCeleb/FakeVideo-FakeAudio/African/men/id00076\n"
            ),
            **audio(
                "FakeAVCeleb_v1.2/RealVideo-RealAudio/African/men/id00076/00109.mp4",
                "FakeAVCeleb_v1.2/RealVideo-FakeAudio/African/men/id00076/00109_fake.mp4",
                "FakeAVCeleb_v1.2/FakeVideo-RealAudio/Asian (East)/women/id00166/00010_id01637.mp4",
                "FakeAVCeleb_v1.2/FakeVideo-FakeAudio/African/men/id00076/00109_10_id00476_wavtolip.mp4",
            ),
        },
        {
            "FakeAVCeleb_v1.2/RealVideo-RealAudio/African/men/id00076/00109.mp4": (
                *("bonafide", None, None, "id00076"),
                *("voxceleb2", "en", None),
            ),
            "FakeAVCeleb_v1.2/RealVideo-FakeAudio/African/men/id00076/00109_fake.mp4": (
                *("spoof", None, "rtvc", "id00076"),
                *("voxceleb2", "en", None),
            ),
            "FakeAVCeleb_v1.2/FakeVideo-RealAudio/Asian (East)/women/id00166/00010_id01637.mp4": (
                *("bonafide", None, None, "id00166"),
                *("voxceleb2", "en", None),
            ),
            "FakeAVCeleb_v1.2/FakeVideo-FakeAudio/African/men/id00076/00109_10_id00476_wavtolip.mp4": (
                *("spoof", None, "rtvc", "id00076"),
                *("voxceleb2", "en", None),
            ),
        },
    ),
    "odss": StandIn(
        audio(
            "odss/natural/openslr-es/arf_00295/arf_00295_00123410324.wav",
            "odss/fastpitch-hifigan/hui-acg/Hokuspokus/mann_im_mond_24_f000100.wav",
            "odss/vits/vctk/p287/p287_407.wav",
        ),
        {
            "odss/natural/openslr-es/arf_00295/arf_00295_00123410324.wav": (
                *("bonafide", None, None),
                *("arf_00295", "openslr-es", "es", None),
            ),
            "odss/fastpitch-hifigan/hui-acg/Hokuspokus/mann_im_mond_24_f000100.wav": (
                *("spoof", None, "fastpitch-hifigan"),
                *("Hokuspokus", "hui-acg", "de", None),
            ),
            "odss/vits/vctk/p287/p287_407.wav": ("spoof", None, "vits", "p287", "vctk", "en", None),
        },
    ),
    "dfadd": StandIn(
        audio(
            "DATASET_PflowTTS/train/p345_251_pflow.wav",
            "DATASET_MatchaTTS/valid/p226_003_matcha.wav",
            "DATASET_VCTK_BONAFIDE/test/p345_251.wav",
        ),
        {
            "DATASET_PflowTTS/train/p345_251_pflow.wav": ("spoof", "train", "PflowTTS", "p345", "vctk", "en", None),
            "DATASET_MatchaTTS/valid/p226_003_matcha.wav": ("spoof", "dev", "MatchaTTS", "p226", "vctk", "en", None),
            "DATASET_VCTK_BONAFIDE/test/p345_251.wav": ("bonafide", "eval", None, "p345", "vctk", "en", None),
        },
    ),
    "ai4t": StandIn(
        {
            "processed_metadata/ai4trust_segm_systems.csv": (
                "./ai4trust-eval-segmentation/real12_36.wav|bonafide\n"
                "./ai4trust-original-segmentation/fake_50_236.wav|spoof\n"
            ),
            **audio("ai4trust-eval-segmentation/real12_36.wav", "ai4trust-original-segmentation/fake_50_236.wav"),
        },
        {
            "ai4trust-eval-segmentation/real12_36.wav": (
                *("bonafide", None, None, None),
                *("ai4trust-eval-segmentation/real12", None, None),
            ),
            "ai4trust-original-segmentation/fake_50_236.wav": (
                *("spoof", None, None, None),
                *("ai4trust-original-segmentation/fake_50", None, None),
            ),
        },
    ),
    "spoofceleb": StandIn(
        {
            "spoofceleb/metadata/train.csv": "file,speaker,attack\na01/id10001/x-00001-001.flac,id10001,a01\n",
            "spoofceleb/metadata/development.csv": (
                "file,speaker,attack\n"
                "a00/id10318/YYsxcZ5saac-00002-006.flac,id10318,a00\n"
                "a06/id10318/YYsxcZ5saac-00002-006.flac,id10318,a06\n"
            ),
            "spoofceleb/metadata/evaluation.csv": "file,speaker,attack\na00/id10270/z-00001-001.flac,id10270,a00\n",
            **audio(
                "spoofceleb/flac/train/a01/id10001/x-00001-001.flac",
                "spoofceleb/flac/development/a00/id10318/YYsxcZ5saac-00002-006.flac",
                "spoofceleb/flac/development/a06/id10318/YYsxcZ5saac-00002-006.flac",
                "spoofceleb/flac/evaluation/a00/id10270/z-00001-001.flac",
            ),
        },
        {
            "spoofceleb/flac/train/a01/id10001/x-00001-001.flac": (
                *("spoof", "train", "a01"),
                *("id10001", "voxceleb1", None, None),
            ),
            "spoofceleb/flac/development/a00/id10318/YYsxcZ5saac-00002-006.flac": (
                *("bonafide", "dev", None),
                *("id10318", "voxceleb1", None, None),
            ),
            "spoofceleb/flac/development/a06/id10318/YYsxcZ5saac-00002-006.flac": (
                *("spoof", "dev", "a06"),
                *("id10318", "voxceleb1", None, None),
            ),
            "spoofceleb/flac/evaluation/a00/id10270/z-00001-001.flac": (
                *("bonafide", "eval", None),
                *("id10270", "voxceleb1", None, None),
            ),
        },
    ),
    "codecfake-xie": StandIn(
        {
            "Codecfake/label/train.txt": (
                "SSB13650058.wav real 0\nF01_SSB13650058.wav fake 1\nF06_p225_001.wav fake 6\n"
            ),
            "Codecfake/label/C7.txt": "F07_SSB13650058.wav fake 7\n",
            "Codecfake/label/A3.txt": "A3_0001.wav fake 1\n",
            **audio(
                "Codecfake/train/SSB13650058.wav",
                "Codecfake/train/F01_SSB13650058.wav",
                "Codecfake/train/F06_p225_001.wav",
                "Codecfake/test/C7/F07_SSB13650058.wav",
                "Codecfake/test/A3_fake/A3_0001.wav",
            ),
        },
        {
            "Codecfake/train/SSB13650058.wav": ("bonafide", "train", None, "SSB1365", None, None, None),
            "Codecfake/train/F01_SSB13650058.wav": ("spoof", "train", "F01", "SSB1365", None, None, None),
            "Codecfake/train/F06_p225_001.wav": ("spoof", "train", "F06", "p225", None, None, None),
            "Codecfake/test/C7/F07_SSB13650058.wav": ("spoof", "eval", "F07", "SSB1365", None, None, None),
            "Codecfake/test/A3_fake/A3_0001.wav": ("spoof", "eval", "A3", None, None, None, None),
        },
    ),
    "codecfake-wu": StandIn(
        audio(
            "CodecFake/encodec_24khz/p272_103.wav",
            "CodecFake/all/SpeechTokenizer+s5_001.wav",
            "VCTK/wav48_silence_trimmed/p272/p272_103_mic1.flac",
        ),
        {
            "CodecFake/encodec_24khz/p272_103.wav": ("spoof", None, "encodec_24khz", "p272", "vctk", "en", None),
            "CodecFake/all/SpeechTokenizer+s5_001.wav": ("spoof", None, "SpeechTokenizer", "s5", "vctk", "en", None),
            "VCTK/wav48_silence_trimmed/p272/p272_103_mic1.flac": (
                *("bonafide", None, None),
                *("p272", "vctk", "en", None),
            ),
        },
        inputs=("CodecFake", "VCTK"),
    ),
    "ctrsvdd": StandIn(
        {
            "train.txt": "m4singer CtrSVDD_0110 CtrSVDD_0110_T_0015416 - - bonafide\n",
            "dev.txt": "jvsmusic CtrSVDD_0097 CtrSVDD_0097_D_0010993 - A06 deepfake\n",
            "test.txt": "acesinger CtrSVDD_0200 CtrSVDD_0200_E_0000001 - A14 deepfake\n",
            **audio(
                "train_set/CtrSVDD_0110_T_0015416.flac",
                "dev_set/CtrSVDD_0097_D_0010993.flac",
                "test_set/CtrSVDD_0200_E_0000001.flac",
            ),
        },
        {
            "train_set/CtrSVDD_0110_T_0015416.flac": (
                *("bonafide", "train", None),
                *("CtrSVDD_0110", "m4singer", None, None),
            ),
            "dev_set/CtrSVDD_0097_D_0010993.flac": (
                *("spoof", "dev", "A06"),
                *("CtrSVDD_0097", "jvsmusic", None, None),
            ),
            "test_set/CtrSVDD_0200_E_0000001.flac": (
                *("spoof", "eval", "A14"),
                *("CtrSVDD_0200", "acesinger", None, None),
            ),
        },
    ),
    "folder": StandIn(
        audio("bonafide/a.wav", "bonafide/ann/2026/b.flac", "spoof/c.mp3", "train/spoof/xtts/d.wav"),
        {
            "bonafide/a.wav": ("bonafide", None, None, None, None, None, None),
            "bonafide/ann/2026/b.flac": ("bonafide", None, None, "ann", None, None, None),
            "spoof/c.mp3": ("spoof", None, None, None, None, None, None),
            "train/spoof/xtts/d.wav": ("spoof", "train", "xtts", None, None, None, None),
        },
    ),
    "csv": StandIn(
        {
            "lists/mine.csv": (
                "uri,label,speaker,system,split,codec,note\n"
                "../sound/a.wav,bonafide,7,-,eval,gsm,x\n../sound/b.wav,spoof,,xtts,eval,,y\n"
            ),
            **audio("sound/a.wav", "sound/b.wav"),
        },
        {
            "sound/a.wav": ("bonafide", "eval", None, "7", None, None, "gsm"),
            "sound/b.wav": ("spoof", "eval", "xtts", None, None, None, None),
        },
        inputs=("lists/mine.csv",),
    ),
}
