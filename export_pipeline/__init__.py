"""Export of short-video analytics events: ingest, store, and verified files."""
