"""
=============================
Topics from a few short texts
=============================

Each task is an inbox whose owner sorts short messages by topics of their own, after one to five
examples of each. Words become numbers by hashing and a truncated SVD, fitted once on the training
messages; prototypes in that space do the rest. The messages are generated: a topic is a mixture of
a few themes, each with words of its own, and new inboxes have new mixtures.
"""

import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline

from sklearn_meta import PrototypeClassifier
from sklearn_meta.datasets import make_n_way_tasks

rng = np.random.default_rng(0)
syllables = ["ba", "do", "fi", "ku", "la", "me", "no", "ri", "su", "ta", "ve", "zo"]
words = ["".join(word) for word in rng.choice(syllables, (1200, 3))]
themes = np.split(np.array(words[:600]), 20)  # 20 themes of 30 words, and words of no theme


def messages(n_topics, n_each, prefix):
    """Texts of 12 words and their topics."""
    texts, topics = [], []
    for topic in range(n_topics):
        own = rng.choice(20, 2, replace=False)
        for _ in range(n_each):
            of_theme = [rng.choice(themes[t]) for t in rng.choice(own, 5)]
            texts.append(" ".join([*of_theme, *rng.choice(words[600:], 7)]))
            topics.append(f"{prefix} {topic}")
    return pd.DataFrame({"text": texts}), np.array(topics)


# NearestCentroid warns of classes with a single row.
warnings.filterwarnings("ignore", module="sklearn.neighbors")

# %%
# 60 topics to learn from, 40 new ones to judge by.

train = make_n_way_tasks(*messages(60, 30, "old"), 150, n_way=5, n_rows=15, random_state=0)
new = make_n_way_tasks(*messages(40, 30, "new"), 150, n_way=5, n_rows=20, random_state=1)

body = make_pipeline(
    make_column_transformer((HashingVectorizer(n_features=2**12), "text")),
    TruncatedSVD(40, random_state=0),
)
model = PrototypeClassifier(body=body, classes="per_task", standardize=False, random_state=0)
model.meta_fit(train)

# %%
# Class means of the same features, without what was learned of their scatter, are the comparison.

shots = [1, 2, 5]
right = {"PrototypeClassifier": [], "NearestCentroid": []}
for k in shots:
    own = {name: [] for name in right}
    for task in new:
        place = np.arange(len(task.y)) % 20
        known, asked = task.X[place < k], task.X[place >= 5]
        model.adapt(known, task.y[place < k])
        own["PrototypeClassifier"].append(model.score(asked, task.y[place >= 5]))
        transform = model.estimator_[:-1].transform
        centroids = NearestCentroid().fit(transform(known), task.y[place < k])
        own["NearestCentroid"].append(centroids.score(transform(asked), task.y[place >= 5]))
    for name, values in own.items():
        right[name].append(np.mean(values))

print(
    "Accuracy on 150 new inboxes of 5 topics\n\nshots               " + "  ".join(map(str, shots))
)
for name, values in right.items():
    print(f"{name:<20}" + "  ".join(f"{value:.3f}" for value in values))

figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
for (name, values), style in zip(right.items(), ("o-", "s--"), strict=True):
    axes.plot(shots, values, style, label=name)
axes.set(xlabel="Messages of each topic", ylabel="Accuracy on new topics")
axes.set_xticks(shots)
axes.legend()

path = Path("demo_output", "texts.png")
path.parent.mkdir(exist_ok=True)
figure.savefig(path, dpi=120)
print(f"\nThe picture is in {path}")
