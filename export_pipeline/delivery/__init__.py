"""Handing exports over: what can be downloaded of one, as which bytes, and through which links.

Sits above ``exports``; knows nothing of HTTP servers. Contract, sections 4 (``downloadUrl``) and 5.
"""
