"""The other ranks: process groups, communication, meshes, and the wrappers that parallelise a model over them."""
