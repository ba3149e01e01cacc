"""Files on disk -> records: layouts of datasets, pictures, and the drawn sample."""
