"""Who owns what, who may therefore download it, and what was taken back."""
