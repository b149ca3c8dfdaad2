"""Estimators of other libraries, in every class that takes any estimator."""

import pickle

import numpy as np
import pytest
from algorithms import CLASSES, make_meta, make_table
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline

from sklearn_meta import (
    BatchMetaLearner,
    GaussianProcessMeta,
    Independent,
    Pooled,
    TransferMetaLearner,
    few_shot_scorer,
)
from sklearn_meta.learners.encoded import fitted

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


class FitPredict(RegressorMixin, BaseEstimator):
    """A regressor that can do nothing else, nor says what it has seen, as TabPFN's."""

    def fit(self, X, y):
        self._model = Ridge().fit(X, y)
        return self

    def predict(self, X):
        return self._model.predict(X)


class Codes(ClassifierMixin, BaseEstimator):
    """A classifier that wants 0 to k - 1, and predicts a column."""

    def fit(self, X, y, sample_weight=None):
        self.classes_ = np.unique(y)
        if not np.array_equal(self.classes_, np.arange(len(self.classes_))):
            raise ValueError(f"Invalid classes inferred from unique values of `y`: {self.classes_}")
        self.model_ = RandomForestClassifier(n_estimators=3, random_state=0)
        self.model_.fit(X, y, sample_weight)
        self.n_features_in_ = self.model_.n_features_in_
        return self

    def predict(self, X):
        return self.model_.predict(X)[:, None]

    def predict_proba(self, X):
        return self.model_.predict_proba(X)


class LibraryError(Exception):
    """An error that is none of Python's."""


class Picky(FitPredict):
    """Refuses constant features with an error of its own, as CatBoost does."""

    def fit(self, X, y):
        if (np.ptp(np.asarray(X), axis=0) == 0).all():
            raise LibraryError("All features are either constant or ignored.")
        return super().fit(X, y)


def regressors():
    return {
        "fit and predict": FitPredict,
        "lightgbm": lambda m: m.LGBMRegressor(
            n_estimators=5, verbose=-1, n_jobs=1, min_child_samples=2
        ),
        "xgboost": lambda m: m.XGBRegressor(n_estimators=5, n_jobs=1),
        "catboost": lambda m: m.CatBoostRegressor(5, verbose=0, allow_writing_files=False),
    }


def classifiers():
    return {
        "codes": Codes,
        "lightgbm": lambda m: m.LGBMClassifier(
            n_estimators=5, verbose=-1, n_jobs=1, min_child_samples=2
        ),
        "xgboost": lambda m: m.XGBClassifier(n_estimators=5, n_jobs=1),
        "catboost": lambda m: m.CatBoostClassifier(5, verbose=0, allow_writing_files=False),
    }


def made(kinds, name):
    """An estimator of a library, or one of those above."""
    if isinstance(kinds[name], type):
        return kinds[name]()
    return kinds[name](pytest.importorskip(name, reason="needs the library"))


def check(meta, table, new):
    """It learns, adapts, predicts numbers or labels, and comes back from a pickle."""
    meta.fit(table.X, table.y, groups=table.ids)
    for k in (5, 2, 0):
        meta.adapt(new.X[:k], new.y[:k])
        predicted = meta.predict(table.X)
        assert predicted.shape == table.y.shape and predicted.dtype.kind == table.y.dtype.kind
    known = meta.predict(table.X, groups=table.ids)
    back = pickle.loads(pickle.dumps(meta))
    assert_array_equal(back.predict(table.X, groups=table.ids), known)
    return known


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("name", regressors())
def test_regressors(name, cls):
    meta = make_meta(cls, made(regressors(), name))
    table, new = make_table(n_rows=30), make_table(seed=1)
    known = check(meta, table, new.tasks[0])
    error = np.mean((known - table.y) ** 2)
    assert error < 0.9 * table.y.var() or name == "catboost"  # which has learned for five trees


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("cls", [cls for cls in CLASSES if cls is not GaussianProcessMeta])
@pytest.mark.parametrize("name", classifiers())
def test_classifiers_with_text_labels(name, cls, n_classes):
    meta = make_meta(cls, made(classifiers(), name))
    table, new = (make_table(meta, n_rows=20, seed=s, n_classes=n_classes) for s in (0, 1))
    known = check(meta, table, new.tasks[0])
    assert np.mean(known == table.y) > 1.2 / n_classes
    p = meta.predict_proba(table.X, groups=table.ids)
    assert p.shape == (len(known), n_classes)
    assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    assert_array_equal(meta.classes_[p.argmax(axis=1)], known)


@pytest.mark.parametrize("labels", [[3, 7, 9], [False, True], ["a", "b", "c"]])
def test_what_stands_for_labels_does_not_matter(labels):
    table = make_table(LogisticRegression(), n_classes=len(labels))
    codes = np.unique(table.y, return_inverse=True)[1]
    meta = Independent(Codes()).fit(table.X, codes, groups=table.ids)
    other = clone(meta).fit(table.X, np.array(labels)[codes], groups=table.ids)
    expected = np.array(labels)[meta.predict(table.X, groups=table.ids).astype(int)]
    assert_array_equal(other.predict(table.X, groups=table.ids), expected)
    assert_array_equal(
        other.predict_proba(table.X, groups=table.ids),
        meta.predict_proba(table.X, groups=table.ids),
    )


def test_the_adapted_model_predicts_labels():
    table = make_table(Codes())
    meta = Pooled(Codes()).fit(table.X, table.y, groups=table.ids)
    model = meta.estimator_
    assert model.classes_.tolist() == ["high", "low", "mid"] and model.n_features_in_ == 3
    assert_array_equal(model.predict(table.X), meta.predict(table.X))
    assert not hasattr(model, "decision_function") and not hasattr(model, "feature_names_in_")


def test_an_error_that_is_not_of_the_labels_is_the_first_one():
    with pytest.raises(ValueError, match=r"Invalid classes.*\['a' 'b'\]"):
        fitted(Codes(), [[np.inf], [0.0]], ["b", "a"], {})


@pytest.mark.parametrize("selection", ["stack", "best", "weighted"])
@pytest.mark.parametrize("wrapped", ["picky", "catboost"])
def test_a_target_that_a_library_refuses_leaves_the_sources(wrapped, selection):
    wrapped = Picky() if wrapped == "picky" else made(regressors(), wrapped)
    table, new = make_table(n_tasks=12, n_rows=30), make_table(seed=1).tasks[0]
    meta = TransferMetaLearner(wrapped, selection=selection, random_state=0).meta_fit(table.tasks)
    for k in (1, 2, 10):
        assert np.isfinite(meta.adapt(new.X[:k], new.y[:k]).predict(new.X)).all()


def test_a_source_that_a_library_refuses_is_named():
    table = make_table()
    table.X[table.ids == "store_2"] = 0.0
    with pytest.raises(LibraryError, match="task 'store_2': All features are either constant"):
        Independent(Picky()).fit(table.X, table.y, groups=table.ids)


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if cls is not BatchMetaLearner])
def test_a_table_vectorizer(cls):
    skrub = pytest.importorskip("skrub", reason="needs the library")
    pd = pytest.importorskip("pandas", reason="the table is a dataframe")
    table = make_table()
    X = table.frame().assign(kind=np.where(table.X[:, 0] > 0, "a", "b"))
    X["day"] = pd.date_range("2026-01-31", periods=len(X))
    meta = make_meta(cls, make_pipeline(skrub.TableVectorizer(), Ridge()), task_column="store")
    predicted = meta.fit(X, table.y).predict(X)
    assert np.mean((predicted - table.y) ** 2) < table.y.var()
    assert np.isfinite(meta.adapt(X[:5].assign(store="new"), table.y[:5]).predict(X)).all()


@pytest.mark.parametrize("by", ["score", "shots"])
def test_a_search_of_optuna(by):
    optuna = pytest.importorskip("optuna_integration", reason="needs the library")
    from optuna.distributions import FloatDistribution

    table = make_table()
    search = optuna.OptunaSearchCV(
        BatchMetaLearner(Ridge(), task_column="store", n_estimators=2, random_state=0),
        {"estimator__alpha": FloatDistribution(1e-3, 10, log=True)},
        n_trials=3,
        cv=GroupKFold(3),
        scoring=few_shot_scorer("r2", n_shots=3, random_state=0) if by == "shots" else None,
        random_state=0,
    ).fit(table.frame(), table.y, groups=table.ids)
    assert np.isfinite(search.best_score_)
    assert search.predict(table.frame()).shape == table.y.shape
