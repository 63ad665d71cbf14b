"""Adapters: one module per component, named as the fixtures name it.

A module has ``compute(fixture: Fixture) -> dict[str, Tensor]``, our values under the fixture's names: ``output.x``,
``eval_output.x``, ``loss.x``, ``part.x``, ``grad.x``, ``grad_norm.x``, ``match.x``. Sizes and options come from the
fixture. It may have ``UNCOMPARED: dict[str, str]``, from a pattern of names (``*`` matches anything) to the reason
why they are not ours to reproduce. Whatever is in neither fails the comparison.
"""
