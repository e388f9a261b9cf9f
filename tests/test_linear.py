"""The linear classifiers give scikit-learn's weights, also with fewer rows than features."""

from __future__ import annotations

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC
from torch import Tensor

from frugan.linear import fit, fit_each
from frugan.registry import UserError


def blobs(count: int, width: int, classes: int = 3) -> tuple[Tensor, Tensor]:
    """Classes that overlap, with features of unequal size."""
    random = torch.Generator().manual_seed(count)
    labels = torch.arange(count) % classes
    centres = torch.randn(classes, width, generator=random, dtype=torch.float64)
    noise = torch.randn(count, width, generator=random, dtype=torch.float64)
    return (centres[labels] + 2 * noise) * torch.linspace(0.3, 3, width, dtype=torch.float64) + 1, labels


@pytest.mark.parametrize(("count", "width"), [(90, 7), (24, 60)], ids=["many rows", "few rows"])
@pytest.mark.parametrize("c", [0.01, 1.0])
def test_logistic_regression_equals_scikit_learns(count: int, width: int, c: float) -> None:
    features, labels = blobs(count, width)
    ours = fit(features, labels, 3, loss="logistic", c=c)
    theirs = LogisticRegression(C=c, tol=1e-10, max_iter=5000).fit(features.numpy(), labels.numpy())
    # scikit-learn's softmax has the same weights up to a number that all classes share in the free biases.
    torch.testing.assert_close(ours.weight, torch.from_numpy(theirs.coef_), atol=2e-5, rtol=1e-4)
    bias = torch.from_numpy(theirs.intercept_)
    torch.testing.assert_close(ours.bias - ours.bias.mean(), bias - bias.mean(), atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize(("count", "width"), [(90, 7), (24, 60)], ids=["many rows", "few rows"])
@pytest.mark.parametrize("c", [0.001, 0.1])
def test_the_l2_svm_equals_liblinears(count: int, width: int, c: float) -> None:
    features, labels = blobs(count, width)
    ours = fit(features, labels, 3, c=c)
    # liblinear shrinks the bias too; with a large scaling it is as good as free.
    theirs = LinearSVC(C=c, dual=False, tol=1e-12, max_iter=100_000, intercept_scaling=1e3)
    theirs.fit(features.numpy(), labels.numpy())
    weight, bias = torch.from_numpy(theirs.coef_), torch.from_numpy(theirs.intercept_)
    torch.testing.assert_close(ours.weight, weight, atol=2e-4, rtol=0)
    torch.testing.assert_close(ours.bias, bias, atol=2e-4, rtol=1e-3)

    def objective(weight: Tensor, bias: Tensor) -> Tensor:
        signs = torch.where(torch.arange(3) == labels[:, None], 1, -1)
        hinges = (1 - signs * (features @ weight.T + bias)).clamp_min(0)
        return weight.square().sum() / 2 + c * hinges.square().sum()

    torch.testing.assert_close(objective(ours.weight, ours.bias), objective(weight, bias), atol=0, rtol=5e-6)


def test_a_row_of_cs_gives_what_each_gives_alone_and_float32_predicts_the_same() -> None:
    features, labels = blobs(60, 12)
    cs = [0.001, 0.1, 10.0]
    for c, one in zip(cs, fit_each(features, labels, 3, cs), strict=True):
        alone = fit(features, labels, 3, c=c)
        torch.testing.assert_close(one.weight, alone.weight, atol=1e-6, rtol=1e-4)
        short = fit(features.float(), labels, 3, c=c)
        assert short.weight.dtype == torch.float32
        assert (short.predict(features.float()) == alone.predict(features)).double().mean() > 0.96
    assert (alone.predict(features) == labels).double().mean() > 0.7


def test_what_cannot_be_fitted_is_refused() -> None:
    features, labels = blobs(6, 2)
    with pytest.raises(UserError, match="loss='swm': there is no such linear classifier"):
        fit(features, labels, 3, loss="swm")
    with pytest.raises(UserError, match=r"6 rows of features have labels of shape \[5\]; give one each"):
        fit(features, labels[:5], 3)
    with pytest.raises(UserError, match="C=-1: give numbers above 0"):
        fit(features, labels, 3, c=-1)
