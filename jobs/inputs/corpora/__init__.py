"""Corpora: the public sets, plain folders and lists that `manifest --corpus` can import.

To add one: a function from a corpus's files to :class:`~jobs.inputs.corpora.corpus.Utterance` rows, an entry in
:data:`CORPORA`, a section in docs/corpora.md, and a stand-in tree in the tests.
"""

from __future__ import annotations

from jobs.inputs.corpora import asvspoof, folders, partial, tables
from jobs.inputs.corpora.corpus import Corpus

CORPORA = {
    "asvspoof2019-la": Corpus(
        layout="LA/ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.{train.trn,dev.trl,eval.trl}.txt and "
        "LA/ASVspoof2019_LA_{train,dev,eval}/flac/*.flac",
        licence="ODC-By 1.0",
        link="https://datashare.ed.ac.uk/handle/10283/3336",
        read=asvspoof.asvspoof2019_la,
    ),
    "asvspoof2021-la": Corpus(
        layout="keys/LA/CM/trial_metadata.txt and ASVspoof2021_LA_eval/flac/*.flac",
        licence="ODC-By 1.0",
        link="https://zenodo.org/records/4837263",
        read=asvspoof.asvspoof2021_la,
    ),
    "asvspoof2021-df": Corpus(
        layout="keys/DF/CM/trial_metadata.txt and ASVspoof2021_DF_eval/flac/*.flac",
        licence="ODbL 1.0",
        link="https://zenodo.org/records/4835108",
        read=asvspoof.asvspoof2021_df,
    ),
    "asvspoof5": Corpus(
        layout="ASVspoof5.{train,dev.track_1,eval.track_1}.tsv and {flac_T,flac_D,flac_E_eval}/*.flac",
        licence="ODC-By 1.0",
        link="https://zenodo.org/records/14498691",
        read=asvspoof.asvspoof5,
    ),
    "partialspoof": Corpus(
        layout="protocols/PartialSpoof_LA_cm_protocols/PartialSpoof.LA.cm.{train,dev,eval}.trl.txt, "
        "{train,dev,eval}/con_wav/*.wav, and segment_labels/{train,dev,eval}_seglab_<seconds>.npy or "
        "label_PartialSpoof_{train,dev,eval}.txt",
        licence="CC BY 4.0",
        link="https://zenodo.org/records/5766198",
        read=partial.partialspoof,
    ),
    "had": Corpus(
        layout="HAD_{train,dev,test}/HAD_{train,dev,test}_label.txt and HAD_{train,dev,test}/{conbine,test}/*.wav",
        licence="not verified",
        link="https://zenodo.org/records/10377492",
        read=partial.had,
    ),
    "llama-partial-spoof": Corpus(
        layout="label_R01TTS.0.{a,b}.txt and R01TTS.0.{a,b}/*.wav",
        licence="not verified",
        link="https://zenodo.org/records/14214149",
        read=partial.llama_partial_spoof,
    ),
    "in-the-wild": Corpus(
        layout="release_in_the_wild/meta.csv and *.wav in its folder",
        licence="CC BY-SA 4.0",
        link="https://huggingface.co/datasets/mueller91/In-The-Wild",
        read=tables.in_the_wild,
    ),
    "fake-or-real": Corpus(
        layout="for-{original,norm,2seconds,rerecorded}/{training,validation,testing}/{real,fake}/*",
        licence="not verified",
        link="https://bil.eecs.yorku.ca/datasets/",
        read=folders.fake_or_real,
        versions=True,
    ),
    "timit-tts": Corpus(
        layout="CLEAN/single_speaker/<system>/*.wav and CLEAN/multi_speaker/<system>/<voice>/*.wav",
        licence="not verified",
        link="https://zenodo.org/records/6560159",
        read=folders.timit_tts,
        partner="VidTIMIT (<speaker>/audio/*.wav)",
        versions=True,
    ),
    "wavefake": Corpus(
        layout="generated_audio/{ljspeech,jsut}_<vocoder>/*.wav",
        licence="CC BY-SA 4.0 (not verified)",
        link="https://zenodo.org/records/5642694",
        read=folders.wavefake,
        partner="LJSpeech-1.1 (LJSpeech-1.1/wavs/*.wav) and JSUT (jsut_ver1.1/basic5000/wav/*.wav)",
    ),
    "mlaad": Corpus(
        layout="fake/<language>/<model>/meta.csv and *.wav in its folder",
        licence="CC BY-NC 4.0",
        link="https://huggingface.co/datasets/mueller91/MLAAD",
        read=tables.mlaad,
        partner="M-AILABS (<language>/by_book/…/wavs/*.wav)",
        ignored=tables.M_AILABS,
    ),
    "fakeavceleb": Corpus(
        layout="meta_data.csv and {Real,Fake}Video-{Real,Fake}Audio/<race>/<gender>/<id>/*.mp4",
        licence="on request",
        link="https://github.com/DASH-Lab/FakeAVCeleb",
        read=tables.fakeavceleb,
    ),
    "odss": Corpus(
        layout="{natural,fastpitch-hifigan,vits}/<corpus>/<speaker>/*.wav",
        licence="not verified",
        link="https://zenodo.org/records/8370668",
        read=folders.odss,
    ),
    "dfadd": Corpus(
        layout="DATASET_{<system>,VCTK_BONAFIDE}/{train,valid,test}/<speaker>_*.wav",
        licence="MIT",
        link="https://huggingface.co/datasets/isjwdu/DFADD",
        read=folders.dfadd,
    ),
    "ai4t": Corpus(
        layout="processed_metadata/ai4trust_segm_systems.csv and ai4trust-{eval,extension,original}-segmentation/*.wav",
        licence="none to redistribute",
        link="https://github.com/davidcombei/AI4T",
        read=tables.ai4t,
    ),
    "spoofceleb": Corpus(
        layout="metadata/{train,development,evaluation}.csv and flac/{train,development,evaluation}/a??/<id>/*.flac",
        licence="on request",
        link="https://huggingface.co/datasets/jungjee/spoofceleb",
        read=tables.spoofceleb,
    ),
    "codecfake-xie": Corpus(
        layout="label/{train,dev,C1,…,C7,A1,A2,A3}.txt and {train,dev,C1,…}/*.wav",
        licence="CC BY-NC-ND 4.0",
        link="https://github.com/xieyuankun/Codecfake",
        read=asvspoof.codecfake_xie,
    ),
    "codecfake-wu": Corpus(
        layout="<codec>/<speaker>_*.wav or <codec>+<speaker>_*.wav",
        licence="CC BY 4.0",
        link="https://huggingface.co/datasets/rogertseng/CodecFake_wavs",
        read=folders.codecfake_wu,
        partner="VCTK (wav48_silence_trimmed/<speaker>/*.flac)",
    ),
    "ctrsvdd": Corpus(
        layout="{train,dev,test}.txt and {train,dev,test}_set/*.flac",
        licence="CC BY-NC-ND 4.0",
        link="https://github.com/SVDDChallenge/CtrSVDD_Utils",
        read=asvspoof.ctrsvdd,
    ),
    "folder": Corpus(
        layout="[train/ dev/ eval/] bonafide/[<speaker>/]* and spoof/[<system>/]*",
        licence="yours",
        link="docs/corpora.md",
        read=folders.folder,
    ),
    "csv": Corpus(
        layout="a .csv, .jsonl or .parquet file with the columns uri and label",
        licence="yours",
        link="docs/corpora.md",
        read=tables.table,
    ),
}
"""The values of `--corpus`. Layouts, licences and links are as published; no importer has run on the real set."""
