"""Metrics of a prediction against its truth; import them from the submodules.

Nothing is re-exported here: `volumetric.metrics.ssim` is a module as well as a function's name, and
`volumetric.metrics.statistics` stays importable without torch.
"""
