"""Linear classifiers of features: the L2-SVM and logistic regression, fitted by L-BFGS on tensors.

Both minimise 1/2 ||W||^2 + C times the sum of a loss over all rows; the biases are free. The L2-SVM's loss is the
squared hinge of every class against the rest (what liblinear calls "L2-regularized L2-loss"), the logistic one is the
cross-entropy of all classes together. So C means what it means in scikit-learn's `LinearSVC` and `LogisticRegression`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from frugan.registry import UserError, suggest

_STEPS, _HISTORY = 400, 20


@dataclass(frozen=True, eq=False)
class Linear:
    """A fitted classifier: `weight` ``[classes, width]`` and `bias` ``[classes]``."""

    weight: Tensor
    bias: Tensor

    def scores(self, features: Tensor) -> Tensor:
        """Features ``[count, width]`` to a number for each class, ``[count, classes]``; the largest one wins."""
        return torch.addmm(self.bias, features, self.weight.T)

    def predict(self, features: Tensor) -> Tensor:
        """The class of each row, int64 ``[count]``."""
        return self.scores(features).argmax(1)


Loss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Scores ``[count, classes]`` and classes as bits of the same shape -> the sum over rows, and its slope by scores."""


def _squared_hinge(scores: Tensor, bits: Tensor) -> tuple[Tensor, Tensor]:
    signs = 2 * bits - 1
    short = (1 - signs * scores).clamp_min_(0)
    return short.square().sum(), -2 * signs * short


def _cross_entropy(scores: Tensor, bits: Tensor) -> tuple[Tensor, Tensor]:
    logs = scores.log_softmax(1)
    return -(logs * bits).sum(), logs.exp() - bits


LOSSES: dict[str, Loss] = {"svm": _squared_hinge, "logistic": _cross_entropy}


def fit(features: Tensor, labels: Tensor, classes: int, *, loss: str = "svm", c: float = 1.0) -> Linear:
    """Fit one classifier; arguments as of `fit_each`."""
    return next(fit_each(features, labels, classes, [c], loss=loss))


def fit_each(
    features: Tensor, labels: Tensor, classes: int, cs: Sequence[float], *, loss: str = "svm"
) -> Iterator[Linear]:
    """Fit a classifier for every C, each starting from the one before, so give them in order.

    Args:
        features: float32 or float64 ``[count, width]``, which is also the arithmetic's type.
        labels: int64 ``[count]``, from 0 to `classes` - 1.
        loss: a name in `LOSSES`.

    Raises UserError for another loss, rows without labels, or a C that is not above 0.
    """
    if loss not in LOSSES:
        raise UserError(f"loss={loss!r}: there is no such linear classifier. {suggest(loss, LOSSES)}")
    if not len(features) or labels.shape != (len(features),):
        raise UserError(f"{len(features)} rows of features have labels of shape {list(labels.shape)}; give one each.")
    if not all(c > 0 for c in cs):
        raise UserError(f"C={min(cs)}: give numbers above 0; a larger one fits the data more closely.")
    # Since biases are free, what all rows have in common changes nothing but slows the fit down: it is taken away.
    mean = features.mean(0)
    # The weights are sums of the rows. So with fewer rows than features, the same problem has fewer unknowns in the
    # rows' own coordinates.
    basis = _basis(features - mean) if len(features) < features.shape[1] else None
    seen, middle = (features, mean) if basis is None else (features @ basis.T, basis @ mean)
    bits = functional.one_hot(labels, classes).to(features)
    weight = features.new_zeros(classes, seen.shape[1])
    bias = features.new_zeros(classes)
    for c in cs:
        weight, bias = _minimise(seen, middle, bits, weight, bias, LOSSES[loss], c)
        whole = weight if basis is None else weight @ basis
        yield Linear(whole, bias - whole @ mean)


def _basis(rows: Tensor) -> Tensor:
    """Orthonormal rows ``[rank, width]`` that span the given rows ``[count, width]``."""
    wide = rows.double()
    squares, vectors = torch.linalg.eigh(wide @ wide.T)
    kept = squares > squares[-1].clamp_min(torch.finfo(torch.float64).tiny) * 1e-9
    return ((vectors[:, kept] / squares[kept].sqrt()).T @ wide).to(rows)


def _minimise(
    features: Tensor, mean: Tensor, bits: Tensor, weight: Tensor, bias: Tensor, loss: Loss, c: float
) -> tuple[Tensor, Tensor]:
    """Weight and bias for the features less their `mean`, beginning with those given."""
    weight, bias, precise = weight.clone(), bias.clone(), features.dtype == torch.float64
    # Divided by C and the count, slopes have one size for every problem, so one tolerance suits all.
    scale = 1 / (c * len(features))
    optimiser = torch.optim.LBFGS(
        [weight, bias], max_iter=_STEPS, max_eval=2 * _STEPS, history_size=_HISTORY, line_search_fn="strong_wolfe",
        tolerance_grad=1e-9 if precise else 1e-5, tolerance_change=0.0 if precise else 1e-7,
    )

    def value() -> Tensor:
        total, slopes = loss(torch.addmm(bias - weight @ mean, features, weight.T), bits)
        weight.grad = scale * (weight + c * (slopes.T @ features - torch.outer(slopes.sum(0), mean)))
        bias.grad = scale * c * slopes.sum(0)
        return scale * (weight.square().sum() / 2 + c * total)

    with torch.no_grad():
        optimiser.step(value)  # pyrefly: ignore
    return weight.detach(), bias.detach()
