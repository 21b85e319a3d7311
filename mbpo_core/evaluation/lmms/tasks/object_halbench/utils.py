"""Functions that object_halbench.yaml names."""

from mbpo_core.evaluation.lmms.bridge import answered as process_results
from mbpo_core.evaluation.lmms.bridge import doc_to_text, doc_to_visual

__all__ = ["doc_to_text", "doc_to_visual", "process_results"]
