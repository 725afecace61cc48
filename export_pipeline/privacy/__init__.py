"""One person: who they are in the data, what is held of them, and its removal (contract, section 6)."""
