"""The embedded world: scenes, questions and a tiny Qwen2-VL that trusts its prior."""
