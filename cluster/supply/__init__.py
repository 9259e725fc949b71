"""What the images are made of: locks, a software bill of materials (SBOM), and the page of licences.

```text
locks/{cpu,gpu}.txt ──lock──► what each image has          ┐
installed packages ──installed──► their licences           ├─bom──► build/sbom-{cpu,gpu}.cdx.json
         └──bundled──► libraries inside wheels             ┘ page──► docs/licences.md
                          ▲
                     licences.toml: what such files are, kept by hand
```

`make locks` writes the locks, `make sbom` the rest. A library that `licences.toml` does not know stops it.
"""
