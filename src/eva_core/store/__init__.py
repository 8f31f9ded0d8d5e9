"""Embedding stores: the only files that know HDF5."""
