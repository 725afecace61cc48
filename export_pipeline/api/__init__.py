"""The REST API: HTTP in front of jobs, links and keys (contract, section 4).

Imports no Dagster and needs none to run: what is asked for goes into the ledger, and is found there.
"""
