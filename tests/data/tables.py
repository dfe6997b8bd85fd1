"""Tables in Parquet as pandas writes them.

pip install pandas==3.1.1 pyarrow==26.0.1 numpy==2.4.6; python tables.py
"""

import numpy as np
import pandas as pd

# Coordinates of three types in two groups of rows, with weights, classes and an index.
n = np.arange(6)
columns = {"x": np.float32(n / 4), "y": n.astype("uint16"), "z": 1.0 / (n + 1), "weights": n + 1.0, "label": n % 2}
pd.DataFrame(columns, index=10 * n + 3).to_parquet("pandas.parquet", compression="snappy", row_group_size=4)

# Lists of three numbers of single precision beside a text.
vectors = [np.float32([k, k + 0.5, -k]) for k in n]
pd.DataFrame({"text": [f"row {k}" for k in n], "embedding": vectors}).to_parquet("lists.parquet", compression="gzip")

# What is refused: a number that is missing, and compression that is not read.
pd.DataFrame({"x": [1.0, 2.0, None], "when": pd.to_datetime(["2026-01-01"] * 3)}).to_parquet("missing.parquet")
pd.DataFrame({"x": [1.0, 2.0]}).to_parquet("zstd.parquet", compression="zstd")
