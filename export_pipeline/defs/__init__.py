"""What Dagster shows and runs: thin, each a few lines around the packages that do the work."""
