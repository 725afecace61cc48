"""What Dagster shows and runs: thin, each a few lines around the packages that do the work."""

import warnings

import dagster as dg

# Beta in Dagster, of which the minor version is pinned; it warns again in each process that loads these.
warnings.filterwarnings("ignore", "Parameter `owners` ", dg.BetaWarning)
