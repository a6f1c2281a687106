"""Model code: the only home of torch and transformers."""
