"""`mbpo eval`: models and files of answers on published benchmarks."""
