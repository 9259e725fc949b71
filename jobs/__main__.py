"""`python -m jobs VERB`."""

from jobs.cli import entry

if __name__ == "__main__":
    entry()
