"""What notebooks show of every algorithm, and of results."""

import numpy as np
import pytest
from algorithms import CASES, make_table
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklearn_meta import HierarchicalBayes, MetaRegressor, Pooled, compare, cross_validate_tasks
from sklearn_meta.base import html
from sklearn_meta.datasets import make_linear_tasks

EACH = list({case.cls: case for case in reversed(CASES)}.values())  # every class once


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", EACH, ids=str)
def test_every_algorithm_shows_what_it_learned(make):
    meta = make()
    assert "Learned" not in meta._repr_html_()
    text = meta.meta_fit(make_table(meta).tasks)._repr_html_()
    assert type(meta).__name__ in text and "<td>Tasks</td>" in text


def test_prior_with_the_names_of_coefficients():
    pd = pytest.importorskip("pandas")
    (X, y), *_ = ((t.X, t.y) for t in make_linear_tasks(n_tasks=1, n_rows=60, random_state=0))
    table = pd.DataFrame(X, columns=["price", "discount"])
    table["colour"] = ["red", "blue"] * 30
    columns = make_column_transformer(
        (StandardScaler(), ["price", "discount"]),
        (OneHotEncoder(drop="first"), ["colour"]),
        verbose_feature_names_out=False,
    )
    ids = np.arange(60) // 6
    y = y + np.array([3.0, -3.0])[ids % 2] * (1 + X[:, 1])
    linear = make_pipeline(columns, LinearRegression())
    model = HierarchicalBayes(linear, random_effects=["intercept", "discount"])
    model.fit(table, y, groups=ids)
    names = ["intercept", "price", "discount", "colour_red"]
    assert list(model.coef_names_) == names
    assert [c for c, s in zip(names, model.prior_covariance_, strict=True) if s.any()] == [
        "intercept",
        "discount",
    ]
    assert all(f"<td>{name}</td>" in model._repr_html_() for name in names)
    with pytest.raises(ValueError, match="known are intercept, price, discount, colour_red"):
        model.set_params(random_effects=["colour"]).fit(table, y, groups=ids)


def test_names_of_coefficients_without_columns():
    tasks = make_linear_tasks(n_tasks=12, n_rows=8, random_state=0)
    linear, boosting = LinearRegression(fit_intercept=False), HistGradientBoostingRegressor()
    assert list(HierarchicalBayes(linear).meta_fit(tasks).coef_names_) == ["x0", "x1"]
    names = HierarchicalBayes(boosting).meta_fit(tasks).coef_names_
    assert list(names) == ["intercept", "f(x)", "x0", "x1"]
    three = [(t.X, (t.y > 0).astype(int) + (t.y > 1)) for t in tasks]
    model = HierarchicalBayes(LogisticRegression(), random_effects="intercept").meta_fit(three)
    assert len(model.coef_names_) == len(model.prior_mean_)
    assert model.coef_names_[1] == "intercept[1]"


def test_weights_of_a_stack():
    candidates = [("pooled <1>", Pooled()), ("hierarchical", HierarchicalBayes())]
    tasks = make_linear_tasks(n_tasks=20, random_state=0)
    text = MetaRegressor(candidates, n_shots=(0, 5), random_state=0).meta_fit(tasks)._repr_html_()
    assert "<th>hierarchical</th>" in text and "<td>5</td>" in text
    assert "pooled <1>" not in text.split("Learned")[1]  # escaped


def test_results_are_tables():
    tasks = make_linear_tasks(n_tasks=20, random_state=0)
    results = cross_validate_tasks(Pooled(), tasks, n_shots=(0, 5))
    assert isinstance(results, dict) and "<th>n_shots</th>" in results._repr_html_()
    assert f"and {len(results['score']) - html.MAX_ROWS} more" in results._repr_html_()
    assert "<th>difference</th>" in compare(tasks, [("pooled", Pooled())])._repr_html_()
    assert "0 rows" in html.Results()._repr_html_()


def test_long_lists_and_missing_facts():
    text = html.facts_html({"Classes": list(range(1000)), "Nothing": None, "Ratio": 1 / 3})
    assert "9, ... (1000)" in text and "Nothing" not in text and "0.3333" in text


@pytest.mark.parametrize(
    "urls, link",
    [
        (None, ""),
        (["Source, https://a.example"], ""),
        (
            ["Source, https://a.example", "Documentation, https://b.example/"],
            "https://b.example/generated/sklearn_meta.Pooled.html",
        ),
    ],
)
def test_link_to_the_documentation(monkeypatch, urls, link):
    class Metadata:
        def get_all(self, name):
            return urls

    monkeypatch.setattr(html, "metadata", lambda name: Metadata())
    html.documentation_template.cache_clear()
    assert Pooled()._get_doc_link() == link
    html.documentation_template.cache_clear()


def test_not_installed(monkeypatch):
    def fails(name):
        raise html.PackageNotFoundError

    monkeypatch.setattr(html, "metadata", fails)
    html.documentation_template.cache_clear()
    assert Pooled()._get_doc_link() == ""
    html.documentation_template.cache_clear()
