"""What is made ready before processes are forked, so that each of them has it."""

import atexit
import gc

from numba.core.registry import cpu_target

import export_pipeline.exports.grammar
import export_pipeline.exports.joining
import export_pipeline.exports.proving  # noqa: F401

# What the first call of a function that Numba compiled looks up, for a third of a second.
cpu_target.typing_context.refresh()
cpu_target.target_context.refresh()
# What is never looked at for garbage is never copied.
gc.collect()
gc.freeze()
atexit.register(gc.unfreeze)  # or DuckDB tells of leaks
