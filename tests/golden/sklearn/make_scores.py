#!/usr/bin/env python3
"""Golden numbers for areas under ROC curves, Platt's sigmoid and libsvm's coupling: scores.json. Run with scikit-learn 1.9.1, numpy 2.4.6.

roc_auc: roc_auc_score of each class against the rest, and multi_class="ovr" with all labels; null where it is NaN.
sigmoid: sigmoid_train of libsvm's svm.cpp, written down from Lin, Lin and Weng 2007 ("A note on Platt's probabilistic outputs for support
    vector machines", Machine Learning 68(3):267, the pseudo code of its appendix) in numpy, and the same minimum found by scikit-learn's
    _sigmoid_calibration (L-BFGS).
coupling: SVC(probability=True): probA_, probB_, decision_function ("ovo") and predict_proba, all of libsvm.
whole: the mean of predict_proba over 20 seeds, and how far a single seed lies from it on average (folds are drawn at random, so that no two
    programs agree in every digit); tight is SVC(tol=1e-10).decision_function ("ovr").
pipeline: PowerTransformer and PCA fitted on the labelled rows alone, as the published code of arXiv:2304.05163 does it, then each classifier.
"""
import json
import warnings

import numpy as np
from sklearn.calibration import _sigmoid_calibration
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PowerTransformer, StandardScaler
from sklearn.svm import SVC

warnings.filterwarnings("ignore")


def number(x):
    return None if np.isnan(x) else float(x)


def roc(name, truth, scores, learnt):
    """Classes that were not learnt have a column of zeros here and none in flow."""
    classes = range(scores.shape[1])
    each = [number(roc_auc_score(truth == c, scores[:, c])) if c in learnt else None for c in classes]
    if scores.shape[1] == 2:
        macro = number(roc_auc_score(truth, scores[:, 1]))
    elif set(learnt) == set(classes):
        macro = number(roc_auc_score(truth, scores, multi_class="ovr", labels=list(classes)))
    else:
        macro = None
    return dict(name=name, truth=truth.tolist(), scores=scores.tolist(), learnt=list(learnt), by_class=each, macro=macro)


def shares(rng, rows, classes, steps):
    """Scores that sum to one, on a grid so coarse that many are equal."""
    counts = rng.multinomial(steps, np.ones(classes) / classes, size=rows)
    return counts / steps


def sigmoid_train(decisions, is_first):
    prior1, prior0 = is_first.sum(), (~is_first).sum()
    hi, lo = (prior1 + 1.0) / (prior1 + 2.0), 1.0 / (prior0 + 2.0)
    t = np.where(is_first, hi, lo)
    a, b = 0.0, np.log((prior0 + 1.0) / (prior1 + 1.0))

    def value(a, b):
        f = decisions * a + b
        return float(np.sum(np.where(f >= 0, t * f + np.log1p(np.exp(-np.abs(f))), (t - 1) * f + np.log1p(np.exp(-np.abs(f))))))

    f_value = value(a, b)
    for _ in range(100):
        f = decisions * a + b
        p = np.where(f >= 0, np.exp(-np.abs(f)) / (1 + np.exp(-np.abs(f))), 1 / (1 + np.exp(-np.abs(f))))
        q = 1 - p
        d2 = p * q
        h11, h22, h21 = 1e-12 + np.sum(decisions**2 * d2), 1e-12 + np.sum(d2), np.sum(decisions * d2)
        d1 = t - p
        g1, g2 = np.sum(decisions * d1), np.sum(d1)
        if abs(g1) < 1e-5 and abs(g2) < 1e-5:
            break
        det = h11 * h22 - h21 * h21
        da, db = -(h22 * g1 - h21 * g2) / det, -(-h21 * g1 + h11 * g2) / det
        gd = g1 * da + g2 * db
        step = 1.0
        while step >= 1e-10:
            new_a, new_b = a + step * da, b + step * db
            new = value(new_a, new_b)
            if new < f_value + 0.0001 * step * gd:
                a, b, f_value = new_a, new_b, new
                break
            step /= 2.0
        if step < 1e-10:
            break
    return a, b


rng = np.random.default_rng(11)
areas = [
    roc("four classes, many ties", rng.integers(0, 4, 60), shares(rng, 60, 4, 5), range(4)),
    roc("four classes, fine scores", rng.integers(0, 4, 60), shares(rng, 60, 4, 100000), range(4)),
    roc("a class without rows", rng.integers(0, 3, 40), shares(rng, 40, 4, 5), range(4)),
    roc("a class that was not learnt", np.r_[0, 1, 2, 3, rng.integers(0, 4, 30)], np.c_[shares(rng, 34, 3, 5), np.zeros(34)], range(3)),
    roc("all equal", np.r_[0, 1, 2, rng.integers(0, 3, 20)], np.full((23, 3), 1 / 3), range(3)),
]
two = rng.integers(0, 8, 50) / 8
areas.append(roc("two classes", (two + rng.normal(size=50) > 0.5).astype(int), np.c_[1 - two, two], range(2)))

sigmoids = []
for name, shift, n, m in [("balanced", 1.0, 40, 40), ("rare first", 0.7, 5, 90), ("told apart", 8.0, 12, 9), ("useless", 0.0, 15, 30), ("one each", 1.0, 1, 1)]:
    is_first = np.r_[np.ones(n, bool), np.zeros(m, bool)]
    decisions = rng.normal(size=n + m) + np.where(is_first, shift, -shift)
    a, b = sigmoid_train(decisions, is_first)
    theirs = [float(v) for v in _sigmoid_calibration(decisions, is_first.astype(float))]
    sigmoids.append(dict(name=name, decisions=decisions.tolist(), n_first=n, a=float(a), b=float(b), calibration=theirs))

couplings = []
for name, load, some in [("iris", load_iris, slice(0, None, 2)), ("wine", load_wine, slice(0, None, 2)), ("cancer", load_breast_cancer, slice(0, 120))]:
    x, y = load(return_X_y=True)
    x = StandardScaler().fit_transform(x)
    model = SVC(class_weight="balanced", probability=True, random_state=0, decision_function_shape="ovo").fit(x[some], y[some])
    rest = x[1::5]
    decisions = model.decision_function(rest)
    # Of two classes scikit-learn turns the sign.
    decisions = decisions if decisions.ndim == 2 else -decisions[:, None]
    couplings.append(dict(name=name, decisions=decisions.tolist(), a=model.probA_.tolist(), b=model.probB_.tolist(), proba=model.predict_proba(rest).tolist()))

wholes = []
for name, load in [("iris", load_iris), ("wine", load_wine)]:
    x, y = load(return_X_y=True)
    x = np.round(StandardScaler().fit_transform(x) * 1024) / 1024  # no rounding in f32
    seeds = [SVC(class_weight="balanced", probability=True, random_state=seed).fit(x[::2], y[::2]).predict_proba(x[1::2]) for seed in range(20)]
    mean = np.mean(seeds, axis=0)
    apart = [float(np.abs(one - mean).mean()) for one in seeds]
    tight = SVC(class_weight="balanced", tol=1e-10).fit(x[::2], y[::2]).decision_function(x[1::2])
    wholes.append(dict(tight=tight.tolist(), name=name, x=x[::2].tolist(), y=y[::2].tolist(), queries=x[1::2].tolist(), proba=np.round(mean, 6).tolist(), apart=max(apart)))

x, y = load_wine(return_X_y=True)
few = np.r_[0:6, 60:66, 140:146]  # more rows than dimensions: with fewer the last axis has no variance and points anywhere
x = np.round(StandardScaler().fit_transform(x) * 1024) / 1024
rest = x[5::6]
steps = lambda model: make_pipeline(PowerTransformer(), PCA(svd_solver="full"), model).fit(x[few], y[few])
pipeline = dict(
    name="wine, 6 rows per class", x=x[few].tolist(), y=y[few].tolist(), queries=rest.tolist(),
    svm=steps(SVC(class_weight="balanced", tol=1e-10)).decision_function(rest).tolist(),
    lr=steps(LogisticRegression(class_weight="balanced", tol=1e-10, max_iter=100000)).predict_proba(rest).tolist(),
    knn=steps(KNeighborsClassifier(n_neighbors=5, weights="distance")).predict_proba(rest).tolist(),
)

json.dump(dict(pipeline=pipeline, whole=wholes, roc_auc=areas, sigmoid=sigmoids, coupling=couplings), open("scores.json", "w"), indent=None, separators=(",", ":"))
