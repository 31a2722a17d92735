"""Any OpenAI-compatible endpoint, for generating and for paraphrasing."""
