"""A run of the paper's size on this machine: all is real but the model."""
