"""Techniques of the blog Scientific Spaces (kexue.fm) for JAX."""
