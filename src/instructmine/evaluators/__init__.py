"""Ways of measuring a fine-tuned model, one per file."""
