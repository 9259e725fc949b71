"""Examples: two commands for each verb, as `--help` shows them; a test parses each."""

from __future__ import annotations

EXAMPLES = {
    "manifest": (
        "--input s3://archive/2026/ --output s3://results/manifest.parquet",
        "--corpus asvspoof2019-la --input /data/LA --output la.parquet",
    ),
    "embed": (
        "--backbone starter --input s3://archive/2026/ --output s3://results/tables",
        "--backbone huggingface --model s3://models/wavlm/ --layers 6,9,12 --input /data/audio --output tables",
    ),
    "fit": (
        "--embeddings s3://results/tables --labels labels.csv --output head.json",
        "--embeddings tables --embeddings more-tables --labels labels.parquet --certify-miss 0.01 --output heads/",
    ),
    "score": (
        "--input recordings/ --output tables",
        "--embeddings s3://results/tables --head s3://heads/head.json --prior 0.01 --output s3://results/tables",
    ),
    "evaluate": (
        "--scores tables --labels labels.csv --output report",
        "--scores tables --scores others --labels labels.csv --split test --output s3://results/report",
    ),
    "nightly": (
        "--input s3://archive/ --head s3://heads/head.json --output s3://archive-tables",
        "--input s3://archive/ --head head.json --output tables --players link --max-failures 0.01",
    ),
    "sql": (
        'tables "SELECT label, count(*) FROM current WHERE NOT reject GROUP BY label"',
        "s3://archive-tables --views views.sql --engine spark",
    ),
    "heads": (
        "s3://archive-tables",
        "tables --head head-5af19c --name calls-2026",
    ),
    "review export": (
        "--output s3://archive-tables --to queue.csv",
        "--output s3://archive-tables --run 2026-11-23-5af19c2f --rows 200 --to queue.json",
    ),
    "review import": (
        "--output s3://archive-tables --from queue.csv --labels labels.csv",
        "--output tables --from anna.csv --from ben.csv --older labels.csv --labels all-labels.parquet",
    ),
    "review parts": (
        "--output s3://archive-tables --from labels.txt --to parts.parquet",
        "--output tables --from export.json --from call-0412.txt --to parts.csv",
    ),
    "review voices": (
        "--output s3://archive-tables --to voices.csv",
        "--output tables --head calls-2026 --rows 50000 --to voices.parquet",
    ),
    "check": (
        "interview.wav call.mp3",
        "--head s3://heads/head.json --json - < call.flac",
    ),
    "explain": (
        "head.json recordings/a.flac",
        "s3://heads/head.json s3://archive/0001.tar#a.flac --nearest 10",
    ),
    "keygen": (
        "--output signing-key",
        "--output /run/secrets/heads",
    ),
    "verify": (
        "s3://archive-tables",
        "tables",
    ),
    "gc": (
        "s3://archive-tables --dry-run",
        "s3://archive-tables --abandon 2026-11-23-5af19c2f",
    ),
    "compact": (
        "s3://archive-tables --to s3://archive-copy",
        "tables --to copy --object-mib 512 --dry-run",
    ),
    "register": (
        "s3://archive-copy --catalog postgresql://reader@db/catalog",
        "/data/copy --catalog sqlite:////data/catalog.db --namespace calls",
    ),
    "erase": (
        "0001.tar#a.flac --output s3://archive-tables --dry-run",
        "a.flac b.flac --output tables",
    ),
    "retrain": (
        "--input s3://labelled/ --labels labels.csv --head s3://heads/head.json --output s3://results/retraining",
        "--manifest labelled.parquet --labels labelled.parquet --head heads/head.json --margin 0.01 --output tables",
    ),
    "submit": (
        "-- nightly --input s3://archive/ --head s3://heads/head.json --output s3://archive-tables",
        "--address http://ray-head:8265 --attempts 5 -- verify s3://archive-tables",
    ),
    "doctor": (
        "",
        "--output s3://archive-tables --confinement require",
    ),
    "demo": (
        "",
        "--output /tmp/demo",
    ),
}
"""Arguments after the verb, or after the verb and its action."""
