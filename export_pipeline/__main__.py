"""``python -m export_pipeline`` is the command ``export-pipeline``."""

from export_pipeline.cli import main

main()
