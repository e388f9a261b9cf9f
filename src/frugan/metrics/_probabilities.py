"""Class probabilities as metrics take them: log-softmax values on the CPU, of one image and two classes at least."""

from __future__ import annotations

from torch import Tensor

from frugan.metrics._features import CHUNK
from frugan.registry import UserError


def accept_probabilities(metric: str, probabilities: Tensor) -> Tensor:
    """Natural logarithms of probabilities ``[count, classes]``, on the CPU, in the type that was given.

    Raises UserError, in the name of `metric`, if the shape or the values are not those of log-probabilities.
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
