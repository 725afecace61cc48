"""Tests, a folder for each part of the package; ``integration/`` runs live stacks."""
