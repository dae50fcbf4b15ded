"""What operators tell an edge: warm, purge, pin, drain; and what it tells them."""
