"""The artifact store: Parquet parts, manifests, the DuckDB catalogue."""
