"""Weights of other libraries: files of theirs, and our parameters filled from them."""
