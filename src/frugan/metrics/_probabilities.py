"""Checks of the class probabilities that metrics get: log-softmax values of at least one image and two classes."""

from __future__ import annotations

from torch import Tensor

from frugan.metrics._features import CHUNK
from frugan.registry import UserError


def accept_probabilities(metric: str, probabilities: Tensor) -> Tensor:
    """Check natural logarithms of probabilities ``[count, classes]``, and return them on the CPU, in their own type.

    Raises UserError, which names `metric`, if the shape or the values are not those of log-probabilities.
    """
    if probabilities.ndim != 2 or probabilities.shape[1] < 2 or not len(probabilities):
        raise UserError(
            f"{metric}: the probabilities have the shape {list(probabilities.shape)}. It needs [count, classes] from a "
            "classifier with two classes or more, e.g. --view classifier, or --view stacked for stacked digits."
        )
    logs = probabilities.detach().cpu()
    for part in logs.split(CHUNK):
        if not bool((part.double().logsumexp(1).abs() < 1e-3).all()):  # NaN fails as well
            raise UserError(
                f"{metric}: the rows are not logarithms of probabilities (their exponentials do not add up to 1). Pass "
                "logits through torch.log_softmax(logits, 1)."
            )
    return logs
