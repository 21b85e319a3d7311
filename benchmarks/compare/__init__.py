"""All recipes side by side on the embedded world: which rows there are, the runs, the table."""
