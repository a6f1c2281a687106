"""Ways of fine-tuning a base model, one per file."""
