"""The training room: recipes, material, the loop, and what it writes down.

``python -m restore.train RECIPE.toml --data DIR --out DIR`` trains one of the shipped models again.
Nothing outside this room imports it.
"""
