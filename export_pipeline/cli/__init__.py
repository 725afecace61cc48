"""The command ``export-pipeline``: parses a call, runs it, prints what came out (contract, section 9).

What a command does lives elsewhere and is imported when the command runs, so that ``--help`` is quick.
"""

from export_pipeline.cli.program import main

__all__ = ["main"]
