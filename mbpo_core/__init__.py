"""The method: scores, attack, objectives and training on plain values and tensors."""
