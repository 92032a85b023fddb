"""In the place of `cuda.bindings`, for a rehearsal."""
