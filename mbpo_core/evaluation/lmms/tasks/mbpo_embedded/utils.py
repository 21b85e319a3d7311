"""Functions that mbpo_embedded.yaml names."""

from mbpo_core.evaluation.lmms.bridge import chair_i, doc_to_text, doc_to_visual
from mbpo_core.evaluation.lmms.bridge import embedded_results as process_results

__all__ = ["chair_i", "doc_to_text", "doc_to_visual", "process_results"]
