"""The order of the examples in the gallery."""

# By topic: first steps, tables and levels, curves and networks, representations, transfer. What is
# not named here comes after them.
EXAMPLES = """
new_school meta pictures hierarchical line cold_start batch_mode gaussian_process maml_tables
sinusoid ridge_head prototypes texts transfer
""".split()


def by_topic(name):
    """Key of an example in the gallery."""
    topic = name.removeprefix("plot_").removesuffix(".py")
    return f"{EXAMPLES.index(topic) if topic in EXAMPLES else 99:02d} {name}"
